// SPDX-License-Identifier: Apache-2.0
// Rows for people and for programs: kubectl's columns, or JSON and YAML.

import { UsageError } from "./usage.ts";

export type Format = "table" | "wide" | "json" | "yaml";

/** One column of a table; `wide` ones show with -o wide only. */
export interface Column<Row> {
  readonly title: string;
  readonly wide?: boolean;
  cell(row: Row): string | number;
}

const GAP = 3;

/** Checks the value of -o. */
export function parseFormat(text: string): Format {
  if (text === "table" || text === "wide" || text === "json" || text === "yaml") return text;
  throw new UsageError([`--output: must be table, wide, json or yaml, is "${text}"`]);
}

/** Columns as wide as their widest cell, three spaces between them, an empty cell as "-". Ends with a newline. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: { readonly wide: boolean; readonly headers: boolean },
): string {
  const shown = columns.filter(({ wide }) => options.wide || !wide);
  const lines = rows.map((row) => shown.map(({ cell }) => String(cell(row)) || "-"));
  if (options.headers) lines.unshift(shown.map(({ title }) => title));
  return alignColumns(lines);
}

/** Whatever a file's name or a manifest brings along: shown, and not carried out by the terminal. */
const plain = (cell: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  cell.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** Any rectangle of text, aligned; no blanks at line ends, no control characters. */
export function alignColumns(given: readonly (readonly string[])[]): string {
  const lines = given.map((line) => line.map(plain));
  const widths: number[] = [];
  for (const line of lines) {
    line.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  const last = widths.length - 1;
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, i) => (i === last ? cell : cell.padEnd((widths[i] ?? 0) + GAP)))
          .join("")
          .trimEnd()}\n`,
    )
    .join("");
}

/** JSON and YAML hold big integers as decimal strings where a double would round them. */
export async function formatDocument(value: unknown, format: "json" | "yaml"): Promise<string> {
  const json = JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? exact(item) : item), 2);
  if (format === "json") return `${json}\n`;
  const { stringify } = await import("yaml");
  return stringify(JSON.parse(json));
}

const exact = (value: bigint): number | string =>
  value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER ? Number(value) : value.toString();
