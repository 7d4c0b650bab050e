// SPDX-License-Identifier: Apache-2.0
// How long a change takes from the bytes of its event to the kernel's maps.

import { createHistogram } from "node:perf_hooks";

export interface LatencyReport {
  readonly count: number;
  /** Milliseconds; null before the first. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly maxMs: number | null;
}

/** Nanoseconds in, percentiles out; constant memory. */
export class Latency {
  readonly #histogram = createHistogram({ lowest: 1_000, highest: 600_000_000_000, figures: 3 });

  record(ns: bigint): void {
    this.#histogram.record(ns < 1_000n ? 1_000n : ns);
  }

  report(): LatencyReport {
    const { count, max } = this.#histogram;
    if (count === 0) return { count, p50Ms: null, p99Ms: null, maxMs: null };
    const ms = (ns: number): number => Math.round(ns / 1_000) / 1_000;
    return {
      count,
      p50Ms: ms(this.#histogram.percentile(50)),
      p99Ms: ms(this.#histogram.percentile(99)),
      maxMs: ms(max),
    };
  }
}
