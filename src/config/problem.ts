// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration, all of it at once, in words and with paths.

import * as v from "valibot";

/** One thing wrong in a configuration: where ("mapSizes.units", "line 3", "" for the whole) and what. */
export interface ConfigProblem {
  readonly path: string;
  readonly message: string;
}

/** A configuration that cannot be used. `problems` holds all that is wrong with it. */
export class ConfigError extends Error {
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  /** `file` names the file, or what else the settings came from. */
  constructor(file: string, problems: readonly ConfigProblem[]) {
    const lines = problems.map(({ path, message }) => `  ${path ? `${path}: ` : ""}${message}`);
    super(`${file}: ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}\n${lines.join("\n")}`);
    this.name = "ConfigError";
    this.file = file;
    this.problems = problems;
  }
}

/** What valibot found, in our words; `missing` says what a file without a wanted field lacks. */
export function problemOf(issue: v.BaseIssue<unknown>, missing: string): ConfigProblem {
  const path = v.getDotPath(issue) ?? "";
  if (issue.type === "strict_object" && issue.expected === "never") return { path, message: "is not a known key" };
  if (issue.type === "strict_object" && issue.input === undefined) return { path, message: `is missing; ${missing}` };
  // A check of the whole that names one field: what was received is the field's value, not the whole.
  const received = issue.type === "check" ? JSON.stringify(issue.path?.at(-1)?.value ?? issue.input) : issue.received;
  if (issue.kind === "validation" || issue.type === "picklist")
    return { path, message: `${issue.message}, is ${received}` };
  return { path, message: `must be ${issue.expected}, is ${issue.received}` };
}
