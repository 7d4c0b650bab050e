// SPDX-License-Identifier: Apache-2.0
// docs/contract.md: every rule names at least one test, and every test named there exists under that name.

import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Row {
  readonly rule: string;
  /** `file`, or `file` › words of a test's name. */
  readonly tests: string;
}

const rows: Row[] = readFileSync("docs/contract.md", "utf8")
  .split("\n")
  .map((line) => /^\| (.+?) \| (.+) \|$/.exec(line))
  .filter((match) => match !== null)
  .map((match) => ({ rule: match[1] ?? "", tests: match[2] ?? "" }))
  .filter(({ rule }) => rule !== "rule" && !rule.startsWith("---"));

function problemsOf({ rule, tests }: Row): string[] {
  const references = [...tests.matchAll(/`([^`]+)`(?: › ([^·|]+))?/g)];
  if (references.length === 0) return [`${rule}: names no test`];
  return references.flatMap(([, file = "", name]) => {
    if (!/^(test|bench|native)\//.test(file) || !existsSync(file)) return [`${rule}: there is no ${file}`];
    if (name === undefined || readFileSync(file, "utf8").includes(name.trim())) return [];
    return [`${rule}: ${file} has no test “${name.trim()}”`];
  });
}

test("every rule of the contract names tests that exist", () => {
  expect(rows.length).toBeGreaterThan(80);
  expect(rows.flatMap(problemsOf)).toEqual([]);
});
