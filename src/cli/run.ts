// SPDX-License-Identifier: Apache-2.0
// portolan run: the agent, until it is told to stop. It takes kube-proxy's flags, and does what kube-proxy does for those
// that end at once.

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { prepareNode, runAgent } from "../agent/agent.ts";
import { yamlText } from "../config/kube-proxy/text.ts";
import { wireConfiguration } from "../config/kube-proxy/wire.ts";
import { removeTraces } from "./cleanup.ts";
import { goArguments, switchFlag } from "./go-flags.ts";
import { PROXY_FLAGS } from "./proxy-flags.ts";
import { AGENT_FLAGS, givenFlags, loadSettings, type Settings } from "./settings.ts";
import { type CommandSpec, EXIT, type FlagSpec, type Flags, isOn, switchValue, textFlag } from "./usage.ts";
import { describeBuild, VERSION } from "./version.ts";

const RUN_FLAGS: readonly FlagSpec[] = [
  ...AGENT_FLAGS,
  {
    flags: "--write-config-to <FILE>",
    description: "write the configuration that holds there, as a KubeProxyConfiguration, and end",
    mayBeEmpty: true,
  },
  switchFlag("cleanup", "remove every trace of portolan from this node, and end"),
  switchFlag("init-only", "do what needs more privileges than serving: checks, sysctls, directories; and end"),
  {
    flags: "--version [BOOL]",
    description: "print the version and end; raw: all that is known of the build",
    check: (value) =>
      switchValue(value) !== null || value === "raw" || value.startsWith(`v${VERSION}`)
        ? null
        : `must be true, false, raw or v${VERSION}, is "${value}"`,
  },
  ...PROXY_FLAGS,
];

export const runCommand: CommandSpec = {
  usage: "run",
  summary: "serve Services on this node until SIGTERM or SIGINT; the datapath stays in place afterwards",
  details: `
Reads Services and EndpointSlices from the API server or from a folder, keeps the pinned maps up to date, and puts the
programs on the node's cgroup. Logs to standard output: JSON lines, or readable ones on a terminal; kube-proxy's text form
with --logging-format text, which is also what a KubeProxyConfiguration asks for unless it says json.

Started under the name kube-proxy it takes the same flags without "run".

Examples:
  portolan run --kubeconfig /etc/kubernetes/admin.conf
  portolan run --config /var/lib/kube-proxy/config.conf --hostname-override node-7
  portolan run --source dir:/etc/portolan/manifests --replacement probe

A changed configuration file ends it, so that whatever supervises it starts it again with the new one.

Exit status: 0 done (--version, --write-config-to, --cleanup, --init-only), 1 failed (wrong usage, a second agent on the
same pins, a changed configuration), 78 refused: this node has to be mended first, see "portolan preflight". Stopped by a
signal, it dies of that signal.
`,
  flags: RUN_FLAGS,
  usageStatus: EXIT.FAILED,
  prepare: (args) => goArguments(args, RUN_FLAGS),
  run,
};

const CONFIG_POLL_MS = 1_000;
/** Less than the 30 s that Kubernetes gives a pod. */
const STOP_MS = 20_000;

async function run(flags: Flags): Promise<number> {
  const version = textFlag(flags, "version", "false");
  if (version === "raw" || switchValue(version) === true) {
    process.stdout.write(version === "raw" ? `${await describeBuild()}\n` : `portolan v${VERSION}\n`);
    return EXIT.OK;
  }
  const settings = await loadSettings(flags);
  const target = textFlag(flags, "writeConfigTo", "");
  if (target !== "") {
    writeFileSync(target, await yamlText(wireConfiguration(settings.config)));
    process.stderr.write([...settings.notes, `wrote ${target}`].map((line) => `portolan: ${line}\n`).join(""));
    return EXIT.OK;
  }
  if (isOn(flags, "cleanup")) return await removeTraces(settings.config);
  if (isOn(flags, "initOnly")) {
    await prepareNode(settings.config, settings.notes);
    return EXIT.OK;
  }
  return await serve(settings, flags);
}

/** Until a signal or a changed file. */
async function serve({ config, notes, file, text }: Settings, flags: Flags): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort(signal));
  // A stage that does not come to its end must not keep the next agent from starting.
  const overdue = (): never => process.exit(EXIT.FAILED);
  stop.signal.addEventListener("abort", () => setTimeout(overdue, STOP_MS).unref(), { once: true });
  const watch = setInterval(() => {
    if (file === null || stop.signal.aborted || [text, null].includes(read(file))) return;
    process.stderr.write(`portolan: ${file} has changed: start again with what it says now\n`);
    stop.abort("changed configuration");
  }, CONFIG_POLL_MS);
  try {
    const recreateMaps = isOn(flags, "recreateMaps");
    const given = givenFlags(flags, RUN_FLAGS);
    await runAgent({ config, version: VERSION, recreateMaps, notes, flags: given, stop: stop.signal });
  } finally {
    clearInterval(watch);
  }
  const { reason } = stop.signal;
  return reason === "SIGTERM" || reason === "SIGINT" ? dieOf(reason) : EXIT.FAILED;
}

/** The supervisor shall see the signal. The first process of a namespace survives its own: it exits as a shell says it. */
function dieOf(signal: "SIGTERM" | "SIGINT"): number {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  return 128 + constants.signals[signal];
}

/**
 * Its content: that also tells of a ConfigMap's update, where links are swapped. Null while it cannot be read, and for
 * what was read once and for all, as a pipe.
 */
function read(file: string): string | null {
  try {
    return statSync(file).isFile() ? readFileSync(file, "utf8") : null;
  } catch {
    return null;
  }
}
