// SPDX-License-Identifier: Apache-2.0
// A configuration file's text, YAML or JSON, as one value; and which of its keys stand there twice.

import type { Document, ScalarTag } from "yaml";
import { ConfigError, type ConfigProblem } from "./problem.ts";

export interface ConfigDocument {
  readonly value: unknown;
  /** Keys that a map holds more than once, the last of which counts: "conntrack.min". */
  readonly duplicates: readonly string[];
  /** The same as problems, with their lines. */
  readonly duplicateProblems: readonly ConfigProblem[];
}

/** Words that YAML 1.1 takes for booleans, as the programs that wrote such files do. */
const oldBoolean: ScalarTag = {
  tag: "tag:yaml.org,2002:bool",
  default: true,
  test: /^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$/,
  resolve: (text) => /^(?:y|yes|on)$/i.test(text),
};

/** Throws ConfigError for what is no YAML. */
export async function readDocument(file: string, text: string): Promise<ConfigDocument> {
  const { LineCounter, parseDocument, visit, isScalar, isPair } = await import("yaml");
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
    merge: true,
    customTags: (tags) => [oldBoolean, ...tags],
  });
  const lineOf = (offset: number): string => `line ${lineCounter.linePos(offset).line}`;
  const found: { path: string; line: string }[] = [];
  visit(document as Document, {
    Map(_, map, ancestors) {
      const seen = new Set<unknown>();
      const above = ancestors.filter(isPair).map(({ key }) => (isScalar(key) ? `${key.value}` : ""));
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value))
          found.push({ path: [...above, key.value].join("."), line: lineOf(key.range?.[0] ?? 0) });
        seen.add(key.value);
      }
    },
  });
  const duplicateProblems = found.map(({ path, line }) => ({ path: line, message: `${path} stands there twice` }));
  const errors = [...document.errors, ...document.warnings];
  const syntax = errors.map(({ pos, message }) => ({ path: lineOf(pos[0]), message }));
  if (syntax.length > 0) throw new ConfigError(file, [...duplicateProblems, ...syntax]);
  return { value: contentOf(file, document), duplicates: found.map(({ path }) => path), duplicateProblems };
}

/** Aliases that lead nowhere, or that would grow without end, only show now. */
function contentOf(file: string, document: { toJS(): unknown }): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new ConfigError(file, [{ path: "", message: (error as Error).message }]);
  }
}
