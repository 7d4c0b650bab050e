// SPDX-License-Identifier: Apache-2.0
// Random files and command lines, given to the real kube-proxy and to portolan: both take them or both refuse them, and
// what they write is the same. CONFIG_RUNS and CONFIG_SEED: how many of either, and which.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { outcome } from "../cli/bed.ts";
import { kubeBinaries } from "../support/kube.ts";
import { commandLine } from "../support/kube-proxy-command-lines.ts";
import { configurationFile } from "../support/kube-proxy-files.ts";

const RUNS = Number(process.env["CONFIG_RUNS"] ?? 60);
const SEED = Number(process.env["CONFIG_SEED"] ?? 1);

/** A file's text, or none, and the words of a command line. */
interface Input {
  readonly text: string | null;
  readonly args: readonly string[];
}

interface Outcome {
  readonly taken: boolean;
  readonly written: string;
  readonly stderr: string;
}

/** What differs on purpose, or by what no file that works can have. */
const EXPLAINED: readonly ((theirs: Outcome, ours: Outcome) => boolean)[] = [
  // A duration that is null, "" or 0 is the default here, in every field; and minus nothing is nothing.
  (theirs, ours) =>
    ours.taken &&
    /invalid duration \\?"\\?"|cannot unmarshal number (?:-0 )?into .* of type (?:string|v1\.VerbosityLevel)/.test(
      theirs.stderr,
    ),
  // YAML that only its reader finds wrong.
  (theirs, ours) => ours.taken && /failed to decode: (?:yaml: |json: unsupported value)/.test(theirs.stderr),
  // kube-proxy finds out at its start.
  (theirs, ours) => theirs.taken && ours.stderr.includes("hostnameOverride: is only blanks"),
  // What is empty says nothing; kube-proxy takes it for a list with an empty item.
  (theirs, ours) => ours.taken && theirs.stderr.includes('ClusterCIDRs[0]: Invalid value: \\"\\"'),
  // It adds the default port, but not where it shall only write.
  (theirs, ours) => ours.taken && /BindAddress: Invalid value: .* must be IP:port/.test(theirs.stderr),
];

const dir = mkdtempSync(join(tmpdir(), "portolan-random-"));
const [input, output] = [join(dir, "in.yaml"), join(dir, "out.yaml")];
let kubeProxy = "";

beforeAll(async () => {
  kubeProxy = join(await kubeBinaries(["kube-proxy"]), "kube-proxy");
});
afterAll(() => rmSync(dir, { recursive: true }));

function argumentsOf({ text, args }: Input): string[] {
  rmSync(output, { force: true });
  if (text !== null) writeFileSync(input, text);
  return [`--write-config-to=${output}`, ...(text === null ? [] : [`--config=${input}`]), ...args];
}

const outcomeOf = (code: number, stderr: string): Outcome => ({
  taken: code === 0,
  written: existsSync(output) ? readFileSync(output, "utf8") : "",
  stderr,
});

async function theirs(given: Input): Promise<Outcome> {
  const { code, stderr } = await outcome([kubeProxy, ...argumentsOf(given)]);
  expect(code === 0 || code === 1 ? null : stderr).toBe(null);
  return outcomeOf(code, stderr);
}

/** In this process: only kube-proxy costs one. */
async function ours(given: Input): Promise<Outcome> {
  let stderr = "";
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    stderr += String(chunk);
    return true;
  });
  try {
    // Without a file portolan's log is JSON, and says so.
    const format = given.text === null ? ["--logging-format=text"] : [];
    const code = await main(["run", ...format, ...argumentsOf(given)]);
    return outcomeOf(code, stderr);
  } finally {
    spy.mockRestore();
    for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners("error");
  }
}

async function same(given: Input): Promise<void> {
  const [real, mine] = [await theirs(given), await ours(given)];
  expect(mine.stderr).not.toContain("    at ");
  const verdict = ({ taken, written }: Outcome) => ({ taken, written });
  if (EXPLAINED.some((explains) => explains(real, mine))) return;
  expect(verdict(mine), `kube-proxy: ${real.stderr}\nportolan: ${mine.stderr}`).toEqual(verdict(real));
}

const text = fc.record({ text: configurationFile, args: fc.constant([]) });
const flags = fc.record({ text: fc.constant(null), args: commandLine });
const both = fc.record({ text: configurationFile, args: commandLine });

test.each([
  ["files", text, RUNS],
  ["command lines", flags, RUNS],
  ["command lines with a file", both, Math.ceil(RUNS / 4)],
] as const)(
  "%s",
  async (_, inputs: fc.Arbitrary<Input>, numRuns) => {
    await fc.assert(fc.asyncProperty(inputs, same), { numRuns, seed: SEED });
  },
  60_000 + 1_000 * RUNS,
);
