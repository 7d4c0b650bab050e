// SPDX-License-Identifier: Apache-2.0
// portolan run: the agent, until it is told to stop.

import { readFileSync } from "node:fs";
import { runAgent } from "../agent/agent.ts";
import { loadConfig, RUN_FLAGS } from "./settings.ts";
import { type CommandSpec, EXIT, type Flags, textFlag } from "./usage.ts";
import { VERSION } from "./version.ts";

export const runCommand: CommandSpec = {
  usage: "run",
  summary: "serve Services on this node until SIGTERM or SIGINT; the datapath stays in place afterwards",
  details: `
Reads Services and EndpointSlices from the API server or from a folder, keeps the pinned maps up to date, and puts the
programs on the node's cgroup. Logs to standard output: JSON lines, or readable ones on a terminal.

Examples:
  portolan run --kubeconfig /etc/kubernetes/admin.conf
  portolan run --config /etc/portolan/config.yaml --hostname-override node-7
  portolan run --source dir:/etc/portolan/manifests --replacement probe

A changed configuration file ends it, so that whatever supervises it starts it again with the new one.

Exit status: 0 stopped by a signal, 1 failed (a second agent on the same pins, a changed configuration), 2 wrong usage,
78 refused: this node has to be mended first, see "portolan preflight".
`,
  flags: RUN_FLAGS,
  run,
};

const CONFIG_POLL_MS = 1_000;

async function run(flags: Flags): Promise<number> {
  const file = textFlag(flags, "config", null);
  const text = file === null ? null : read(file);
  const config = await loadConfig(flags);
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort(signal));
  let status: number = EXIT.OK;
  const watch = setInterval(() => {
    if (file === null || stop.signal.aborted || [text, null].includes(read(file))) return;
    process.stderr.write(`portolan: ${file} has changed: start again with what it says now\n`);
    status = EXIT.FAILED;
    stop.abort("changed configuration");
  }, CONFIG_POLL_MS);
  try {
    await runAgent({ config, version: VERSION, recreateMaps: flags["recreateMaps"] === true, stop: stop.signal });
  } finally {
    clearInterval(watch);
  }
  return status;
}

/** Its content: that also tells of a ConfigMap's update, where links are swapped. Null while it cannot be read. */
function read(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
