// SPDX-License-Identifier: Apache-2.0
// Results as files: JSON with everything a reader needs to judge them, the picture for the README beside it.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Row } from "./goals.ts";
import type { Lane } from "./lane.ts";
import type { Machine } from "./machine.ts";
import type { Measured } from "./measure.ts";
import type { Comparison, Interval } from "./statistics.ts";

/** Folder of the published results, in the repository; unpublished ones go beside the build. */
const PUBLISHED = fileURLToPath(new URL("results", import.meta.url));
const UNPUBLISHED = fileURLToPath(new URL("../dist/bench", import.meta.url));

export type Triple = readonly [value: number, low: number, high: number];

export interface ArmResult {
  /** Direct arm it is compared with. */
  readonly base: string;
  /** µs of connect(), or of the datagram's send. */
  readonly us: number;
  /** The same as a ratio to the direct arm, with its 95 % interval. */
  readonly ratio: Triple;
  readonly addedUs: Triple;
  /** connect() and close(), or send and answer. */
  readonly wholeUs: number;
  readonly wholeRatio: Triple;
}

export interface ConnectResult {
  readonly format: 1;
  readonly form: "quick" | "full";
  readonly takenAt: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly callsPerBlock: number;
  readonly arms: Readonly<Record<string, ArmResult>>;
  readonly lanes: readonly { readonly mode: string; readonly count: number; readonly loadSec: number }[];
  readonly goals: readonly GoalResult[];
}

export interface GoalResult {
  readonly row: string;
  readonly text: string;
  readonly unit: string;
  readonly figure: Triple | null;
  readonly bound: "most" | "least";
  readonly pass: number;
  readonly ambitious: number;
  readonly verdict: string;
}

const rounded = (value: number): number => Number(value.toPrecision(5));
const triple = ({ value, low, high }: Interval, scale = 1): Triple => [
  rounded(value * scale),
  rounded(low * scale),
  rounded(high * scale),
];

export const goalResults = (rows: readonly Row[]): GoalResult[] =>
  rows.map((row) => ({ ...row, figure: row.figure && triple(row.figure) }));

/** The direct arm of the same place and protocol. */
function baseOf(arm: string): string {
  const what = arm.split("/").slice(1).join("/");
  for (const kind of ["udp-connected", "udp", "pod"]) if (what.includes(kind)) return `direct/${kind}`;
  return "direct/node";
}

function armResult(measured: Measured, arm: string): ArmResult {
  const base = baseOf(arm);
  const first: Comparison = measured.first.compare(arm, base);
  return {
    base,
    us: rounded(measured.first.level(arm) / 1000),
    ratio: triple(first.ratio),
    addedUs: triple(first.difference, 1 / 1000),
    wholeUs: rounded(measured.whole.level(arm) / 1000),
    wholeRatio: triple(measured.whole.compare(arm, base).ratio),
  };
}

export function connectResult(
  form: "quick" | "full",
  machine: Machine,
  measured: Measured,
  { lanes, rows }: { readonly lanes: readonly Lane[]; readonly rows: readonly Row[] },
): ConnectResult {
  return {
    format: 1,
    form,
    takenAt: new Date().toISOString().slice(0, 10),
    machine,
    rounds: measured.rounds,
    callsPerBlock: measured.block,
    arms: Object.fromEntries(measured.first.arms().map((arm) => [arm, armResult(measured, arm)])),
    lanes: lanes.map(({ mode, count, loadSec }) => ({ mode, count, loadSec: rounded(loadSec) })),
    goals: goalResults(rows),
  };
}

/** Writes a file of results and gives its path. */
export function save(name: string, content: string, publish: boolean): string {
  const dir = publish ? PUBLISHED : UNPUBLISHED;
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, name), content);
  return join(dir, name);
}

export const json = (value: object): string => `${JSON.stringify(value, null, 1)}\n`;
