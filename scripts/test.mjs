// SPDX-License-Identifier: Apache-2.0
// `make test`: every suite one after the other, each with its own closing line, and the sum at the end. A suite that is
// not vitest counts as one test. Names given as arguments choose suites. Exit 1 if anything failed or was skipped.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

const scratch = mkdtempSync(join(tmpdir(), "portolan-test-"));
// The same on every machine: what programs say is looked at, and files made here are read by other users.
process.umask(0o022);
const { FORCE_COLOR: _, ...inherited } = process.env;
const fixed = { LC_ALL: "C.UTF-8", HOME: homedir() };
// vitest colours what it writes to a file, too; and with both variables Node warns in every process.
const env = process.stdout.isTTY ? { ...process.env, ...fixed } : { ...inherited, ...fixed, NO_COLOR: "1" };
const suites = [
  { name: "lint", command: ["scripts/lint.sh"] },
  { name: "reproducible", command: ["scripts/reproducible.sh"] },
  { name: "unit", vitest: ["--project", "unit"] },
  { name: "addon", vitest: ["--root", "native"] },
  { name: "addon-sanitized", command: ["npm", "run", "--silent", "test:asan", "-w", "libbpf-ts"] },
  { name: "datapath", vitest: ["--project", "datapath"] },
  { name: "live", vitest: ["--project", "live"] },
  { name: "cli", vitest: ["--project", "cli"] },
  { name: "faults", vitest: ["--project", "faults"] },
  { name: "kill", command: ["node", "bench/bench.ts", "kill"] },
  {
    name: "kube-build",
    command: ["test/kube/build.sh"],
  },
  { name: "e2e", vitest: ["--project", "e2e"] },
  { name: "differential", vitest: ["--project", "differential"] },
  { name: "cluster", command: ["node", "test/cluster/run.ts"] },
];

function run(suite) {
  const started = process.hrtime.bigint();
  console.log(`\n=== ${suite.name}`);
  const report = join(scratch, `${suite.name}.json`);
  const command = suite.vitest
    ? ["vitest", "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...suite.vitest]
    : suite.command;
  const { status } = spawnSync(command[0], command.slice(1), { stdio: "inherit", env });
  const counts = suite.vitest ? countVitest(report) : { passed: status === 0 ? 1 : 0, failed: 0, skipped: [] };
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  const seconds = Number((process.hrtime.bigint() - started) / 1_000_000_000n);
  console.log(`=== ${suite.name}: ${counts.passed} passed, ${counts.failed} failed (${seconds} s)`);
  return counts;
}

function countVitest(report) {
  const counts = { passed: 0, failed: 0, skipped: [] };
  let results;
  try {
    results = JSON.parse(readFileSync(report, "utf8")).testResults;
  } catch {
    return counts;
  }
  for (const file of results) {
    if (file.status === "failed" && file.assertionResults.length === 0) counts.failed++;
    for (const test of file.assertionResults) {
      if (test.status === "passed") counts.passed++;
      else if (test.status === "failed") counts.failed++;
      else counts.skipped.push(test.fullName);
    }
  }
  return counts;
}

const chosen = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: [] };
const broken = [];
try {
  for (const suite of suites) {
    if (chosen.length > 0 && !chosen.includes(suite.name)) continue;
    const counts = run(suite);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped.push(...counts.skipped);
    if (counts.failed > 0) broken.push(suite.name);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
if (broken.length > 0) console.log(`\nfailed: ${broken.join(", ")}`);
for (const name of total.skipped) console.log(`skipped: ${name}`);
const skipped = total.skipped.length > 0 ? `, ${total.skipped.length} skipped` : "";
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed > 0 || total.skipped.length > 0 ? 1 : 0);
