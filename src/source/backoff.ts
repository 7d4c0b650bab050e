// SPDX-License-Identifier: Apache-2.0
// How long to wait before the next try, so that a thousand nodes neither hammer a sick API server nor come back at once.

import type { Clock } from "./clock.ts";

const FIRST_MS = 800;
const LAST_MS = 30_000;
/** Waits are spread over [base, base × 1.8): the longest is 54 s, so that recovery is seen within a minute. */
const SPREAD = 0.8;

export class Backoff {
  readonly #clock: Clock;
  readonly #shortTries: number;
  #tries = 0;

  /** After `shortTries` tries the wait is the longest one. */
  constructor(clock: Clock, shortTries = Number.POSITIVE_INFINITY) {
    this.#clock = clock;
    this.#shortTries = shortTries;
  }

  /** Milliseconds: first anything up to 0.8 s, then 0.8, 1.6, … 30 s (at most `lastMs`) and up to eight tenths more. */
  next(lastMs = LAST_MS): number {
    const tries = this.#tries++;
    if (tries === 0) return this.#clock.random() * Math.min(FIRST_MS, lastMs);
    const base = tries < this.#shortTries ? Math.min(FIRST_MS * 2 ** Math.min(tries - 1, 10), lastMs) : lastMs;
    return base * (1 + SPREAD * this.#clock.random());
  }

  reset(): void {
    this.#tries = 0;
  }
}
