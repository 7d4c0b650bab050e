// SPDX-License-Identifier: Apache-2.0
// The goals a benchmark is held against: each row's figure, its bounds, and whether the bad end of its interval meets
// them. Printed beside each other, so that a figure never stands alone.

import type { Interval } from "./statistics.ts";

export type Verdict = "ambitious" | "pass" | "FAIL" | "not measured";

export interface Goal {
  /** Number in the list of goals. */
  readonly row: string;
  readonly text: string;
  readonly unit: "×" | "µs" | "ms" | "s" | "MiB" | "" | "%";
  /** "most": the figure must not exceed the bounds; "least": must reach them. */
  readonly bound: "most" | "least";
  readonly pass: number;
  readonly ambitious: number;
}

/** A goal that is not to be exceeded. */
export const most = (row: string, text: string, unit: Goal["unit"], pass: number, ambitious: number): Goal => ({
  row,
  text,
  unit,
  bound: "most",
  pass,
  ambitious,
});

export interface Row extends Goal {
  readonly figure: Interval | null;
  readonly verdict: Verdict;
}

/** A figure without spread: counted, or too few samples for an interval. */
export const exactly = (value: number): Interval => ({ value, low: value, high: value });

/** Judges by the interval's bad end. */
export function judge(goal: Goal, figure: Interval | null): Row {
  const met = (limit: number): boolean =>
    figure !== null && (goal.bound === "most" ? figure.high <= limit : figure.low >= limit);
  const verdict =
    figure === null ? "not measured" : met(goal.ambitious) ? "ambitious" : met(goal.pass) ? "pass" : "FAIL";
  return { ...goal, figure, verdict };
}

function number(value: number): string {
  if (value === 0 || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

function figureText({ figure, unit }: Row): string {
  if (!figure) return "–";
  const spread = figure.low === figure.high ? "" : ` [${number(figure.low)}, ${number(figure.high)}]`;
  return `${number(figure.value)}${spread} ${unit}`.trimEnd();
}

/** Rows as a table for a terminal. */
export function table(rows: readonly Row[]): string {
  const sign = { most: "≤", least: "≥" };
  const cells = rows.map((row) => [
    row.row,
    row.text,
    figureText(row),
    `${sign[row.bound]} ${number(row.pass)}`,
    `${sign[row.bound]} ${number(row.ambitious)}`,
    row.verdict,
  ]);
  const head = ["#", "goal", "figure [95 %]", "pass", "ambitious", ""];
  const widths = head.map((title, n) => Math.max(title.length, ...cells.map((row) => row[n]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, n) => cell.padEnd(widths[n] ?? 0))
      .join("  ")
      .trimEnd();
  return [line(head), line(widths.map((width) => "─".repeat(width))), ...cells.map(line)].join("\n");
}
