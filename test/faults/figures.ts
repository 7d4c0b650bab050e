// SPDX-License-Identifier: Apache-2.0
// What a case has seen, beside the bar it must not pass.

import { appendFileSync } from "node:fs";
import { expect } from "vitest";

export interface Figure {
  /** Of the table of faults: 5 outage, 6 storm of 410s, 7 silent watch, 8 less than there is, … */
  readonly row: number;
  readonly what: string;
  readonly seen: number;
  /** The most it may be. */
  readonly bar: number;
  readonly unit?: string;
  /** So much of it does not count: the machine stood still. */
  readonly stalled?: number;
}

/** What of it is portolan's. */
export const counted = ({ seen, stalled = 0 }: Figure): number => seen - stalled;

/** Notes it for the table, then holds it against its bar. */
export function figure(noted: Figure): void {
  const file = process.env["PORTOLAN_FIGURES"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(noted)}\n`);
  expect(counted(noted), noted.what).toBeLessThanOrEqual(noted.bar);
}
