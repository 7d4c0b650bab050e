// SPDX-License-Identifier: Apache-2.0
// A configuration file's text, YAML or JSON, as one value; and which of its keys stand there twice.

import type { Document, YAMLError } from "yaml";
import { ConfigError, type ConfigProblem } from "./problem.ts";
import { GO_SCALARS } from "./yaml-scalars.ts";

export interface ConfigDocument {
  readonly value: unknown;
  /** Keys that a map holds more than once, the last of which counts: "conntrack.min". */
  readonly duplicates: readonly string[];
  /** Other documents follow, and were not read. */
  readonly continues: boolean;
  /** Both, and tags that nobody knows, as problems with their lines: for who is strict. */
  readonly liberties: readonly ConfigProblem[];
}

/** Throws ConfigError for what is no YAML. */
export async function readDocument(file: string, text: string): Promise<ConfigDocument> {
  const { LineCounter, parseDocument, visit, isScalar, isPair } = await import("yaml");
  const lineCounter = new LineCounter();
  // A carriage return ends a line, too, for the reader of kube-proxy's files.
  const document = parseDocument(text.replaceAll(/\r(?!\n)/g, "\n"), {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
    logLevel: "error",
    merge: true,
    customTags: (tags) => [...GO_SCALARS, ...tags],
  });
  const lineOf = (offset: number): string => `line ${lineCounter.linePos(offset).line}`;
  const found: { path: string; line: string }[] = [];
  visit(document as Document, {
    Map(_, map, ancestors) {
      const seen = new Set<unknown>();
      // "<<" is a symbol.
      const above = ancestors.filter(isPair).map(({ key }) => (isScalar(key) ? String(key.source ?? key.value) : ""));
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value))
          found.push({ path: [...above, key.value].join("."), line: lineOf(key.range?.[0] ?? 0) });
        seen.add(key.value);
      }
    },
  });
  const twice = found.map(({ path, line }) => ({ path: line, message: `${path} stands there twice` }));
  const [more, errors] = partition(document.errors, ({ code }) => code === "MULTIPLE_DOCS");
  const problems = (list: readonly YAMLError[]): ConfigProblem[] =>
    list.map(({ pos, message }) => ({ path: lineOf(pos[0]), message }));
  if (errors.length > 0) throw new ConfigError(file, [...twice, ...problems(errors)]);
  return {
    value: contentOf(file, document),
    duplicates: found.map(({ path }) => path),
    continues: more.length > 0,
    liberties: [...twice, ...problems([...more, ...document.warnings])],
  };
}

function partition<T>(list: readonly T[], first: (item: T) => boolean): readonly [T[], T[]] {
  return [list.filter(first), list.filter((item) => !first(item))];
}

/** Aliases that lead nowhere, or that would grow without end, only show now. */
function contentOf(file: string, document: { toJS(): unknown }): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new ConfigError(file, [{ path: "", message: (error as Error).message }]);
  }
}
