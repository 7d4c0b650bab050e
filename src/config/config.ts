// SPDX-License-Identifier: Apache-2.0
// From a configuration file to settings: every problem of it at once, each with its path. YAML or JSON.

import * as v from "valibot";
import { type Config, portolanConfiguration } from "./schema.ts";

/** One thing wrong in a configuration: where ("mapSizes.units", "line 3", "" for the whole) and what. */
export interface ConfigProblem {
  readonly path: string;
  readonly message: string;
}

/** A configuration that cannot be used. `problems` holds all that is wrong with it. */
export class ConfigError extends Error {
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    const lines = problems.map(({ path, message }) => `  ${path ? `${path}: ` : ""}${message}`);
    super(`${file}: ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}\n${lines.join("\n")}`);
    this.name = "ConfigError";
    this.file = file;
    this.problems = problems;
  }
}

const header = { apiVersion: "portolan.io/v1alpha1", kind: "PortolanConfiguration" };
const beginsWith = `a file begins with apiVersion: ${header.apiVersion}, kind: ${header.kind}`;

/** What holds without a file. */
export function defaultConfig(): Config {
  return withoutHeader(v.parse(portolanConfiguration, header));
}

/** Settings from a file's text. Throws ConfigError. */
export async function parseConfig(file: string, text: string): Promise<Config> {
  const { LineCounter, parseDocument } = await import("yaml");
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const syntax = [...document.errors, ...document.warnings].map((error) => ({
    path: `line ${lineCounter.linePos(error.pos[0]).line}`,
    message: error.message,
  }));
  if (syntax.length > 0) throw new ConfigError(file, syntax);
  const value: unknown = document.toJS();
  const foreign = foreignKind(value);
  if (foreign) throw new ConfigError(file, [foreign]);
  const result = v.safeParse(portolanConfiguration, value);
  if (!result.success) throw new ConfigError(file, result.issues.map(problemOf));
  return withoutHeader(result.output);
}

function withoutHeader({ apiVersion: _, kind: __, ...config }: v.InferOutput<typeof portolanConfiguration>): Config {
  return config;
}

/** What a file of another kind is, so that nobody has to guess from "unknown key". */
function foreignKind(value: unknown): ConfigProblem | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return {
      path: "",
      message: `is not an object; ${beginsWith}`,
    };
  }
  const { apiVersion } = value as { apiVersion?: unknown };
  if (typeof apiVersion === "string" && apiVersion.startsWith("kubeproxy.config.k8s.io/")) {
    return {
      path: "apiVersion",
      message: `is a KubeProxyConfiguration, which this release does not read yet: write a ${header.kind} (apiVersion ${header.apiVersion}), or use the flags of portolan run`,
    };
  }
  return null;
}

function problemOf(issue: v.BaseIssue<unknown>): ConfigProblem {
  const path = v.getDotPath(issue) ?? "";
  if (issue.type === "strict_object" && issue.expected === "never") return { path, message: "is not a known key" };
  if (issue.type === "strict_object" && issue.input === undefined)
    return { path, message: `is missing; ${beginsWith}` };
  // A check of the whole that names one field: what was received is the field's value, not the whole.
  const received = issue.type === "check" ? JSON.stringify(issue.path?.at(-1)?.value ?? issue.input) : issue.received;
  if (issue.kind === "validation" || issue.type === "picklist")
    return { path, message: `${issue.message}, is ${received}` };
  return { path, message: `must be ${issue.expected}, is ${issue.received}` };
}
