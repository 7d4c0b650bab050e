// SPDX-License-Identifier: Apache-2.0
// portolan preflight: what was found on this node, why it matters, how to mend it.

import { styleText } from "node:util";
import { checkNode } from "../agent/agent.ts";
import type { Finding } from "../agent/finding.ts";
import { loadSettings, REPLACEMENT_FLAGS } from "./settings.ts";
import { formatDocument, parseFormat } from "./table.ts";
import { type CommandSpec, EXIT, type Flags, OUTPUT, textFlag } from "./usage.ts";

export const preflightCommand: CommandSpec = {
  usage: "preflight",
  summary: "say whether this node can run portolan, and if not, how to mend it",
  details: `
Every line: what was checked, what was found, why it matters and, where something is wrong, how to mend it. Nothing is
changed: the programs are shown to the kernel and dropped. "portolan run" makes the same checks before it starts.

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
  const { findings, ready } = checkNode(config);
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
