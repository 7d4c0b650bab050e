// SPDX-License-Identifier: Apache-2.0
// Time that runs faster, and chance that does not: half a minute of backoff passes in half a second.

import type { Clock } from "../../../src/source/clock.ts";

export class ScaledClock implements Clock {
  /** Every wait asked for, in the clock's own milliseconds. */
  readonly waits: number[] = [];
  readonly #factor: number;
  readonly #random: () => number;
  #pending = 0;

  constructor(factor: number, random: () => number = () => 0.5) {
    this.#factor = factor;
    this.#random = random;
  }

  /** Waits that are neither over nor cancelled. */
  get pending(): number {
    return this.#pending;
  }

  now(): number {
    return performance.now() * this.#factor;
  }

  after(ms: number, run: () => void): () => void {
    this.waits.push(ms);
    this.#pending++;
    let open = true;
    const close = () => {
      if (open) this.#pending--;
      open = false;
    };
    const timer = setTimeout(() => {
      close();
      run();
    }, ms / this.#factor);
    return () => {
      close();
      clearTimeout(timer);
    };
  }

  random(): number {
    return this.#random();
  }
}
