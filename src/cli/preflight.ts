// SPDX-License-Identifier: Apache-2.0
// portolan preflight: what was found on this node, why it matters, how to mend it.

import { styleText } from "node:util";
import { checkNode } from "../agent/agent.ts";
import type { Finding } from "../agent/preflight/finding.ts";
import type { Config } from "../config/schema.ts";
import { denialOf } from "../source/api-error.ts";
import { SourceConfigError } from "../source/config-error.ts";
import { loadSettings, REPLACEMENT_FLAGS } from "./settings.ts";
import { formatDocument, parseFormat } from "./table.ts";
import { type CommandSpec, EXIT, type Flags, OUTPUT, textFlag } from "./usage.ts";

export const preflightCommand: CommandSpec = {
  usage: "preflight",
  summary: "say whether this node can run portolan, and if not, how to mend it",
  details: `
Every line: what was checked, what was found, why it matters and, where something is wrong, how to mend it. Nothing is
changed: the programs are shown to the kernel and dropped, and the API server is asked for one object of each kind.
"portolan run" makes the checks of the node before it starts.

Examples:
  portolan preflight
  portolan preflight --cgroup /sys/fs/cgroup/unified -o json
  portolan preflight --replacement probe       another proxy is a warning then

Exit status: 0 ready, 78 something hinders a start.
`,
  flags: [...REPLACEMENT_FLAGS, OUTPUT],
  run,
};

async function run(flags: Flags): Promise<number> {
  const { config } = await loadSettings(flags);
  const { findings: ofNode, ready } = checkNode(config);
  const findings = [...ofNode, ...(await checkApiServer(config))];
  const format = parseFormat(textFlag(flags, "output", "table"));
  if (format === "json" || format === "yaml") {
    process.stdout.write(await formatDocument({ ready, replacement: config.replacement, findings }, format));
  } else {
    for (const finding of findings) process.stdout.write(describe(finding, config.replacement === "strict"));
    const verdict = ready ? "This node can run portolan." : "This node cannot run portolan as it is.";
    process.stdout.write(`\n${styleText(ready ? "green" : "red", verdict)}\n`);
  }
  return ready ? EXIT.OK : EXIT.REFUSED;
}

/** Hinders no start: what is pinned serves meanwhile, and the server is asked again and again. */
async function checkApiServer({ source, kubeconfig, apiServers }: Config): Promise<Finding[]> {
  if (source !== "kubernetes") return [];
  const base = { check: "API server", result: "warning", why: "Services and EndpointSlices come from there" } as const;
  const { probeApiServer } = await import("../source/api-probe.ts");
  const probe = await probeApiServer(kubeconfig, apiServers).catch((error: unknown) => {
    if (error instanceof SourceConfigError) return error;
    throw error;
  });
  if (probe instanceof SourceConfigError)
    return [
      { ...base, found: probe.message, mend: "name a kubeconfig (--kubeconfig), or a folder (--source dir:PATH)" },
    ];
  const { server, status, reason } = probe;
  if (status === null) return [{ ...base, result: "ok", found: `${server} shows them`, mend: null }];
  if (status === 401 || status === 403) {
    const mend = status === 401 ? "give it a valid login" : "bind this account to the role of deploy/rbac.yaml";
    return [{ ...base, found: `${server} refuses (${denialOf(status)}): ${reason}`, mend }];
  }
  const found = `${server} ${status === 0 ? "cannot be reached" : "fails"}: ${reason}`;
  return [{ ...base, found, mend: "see to the server, the network between, and the certificate authority" }];
}

const MARKS = { ok: ["green", "ok"], warning: ["yellow", "warning"], refused: ["red", "REFUSED"] } as const;

function describe({ check, result, found, why, mend }: Finding, strict: boolean): string {
  const [colour, word] = MARKS[result === "strict" ? (strict ? "refused" : "warning") : result];
  const indent = " ".repeat(27);
  const lines = [
    `${styleText(colour, word.padEnd(9))}${check.padEnd(18)}${found}`,
    styleText("dim", `${indent}${why}`),
  ];
  if (mend !== null) lines.push(`${indent}${styleText("bold", "mend:")} ${mend}`);
  return `${lines.join("\n")}\n`;
}
