// SPDX-License-Identifier: Apache-2.0
// For how long the event loop was held up: how late a timer comes while there is something to do. In silence there is no
// timer: a hundred wake-ups a second would be most of what an idle agent costs.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

const STEP_MS = 10;
const QUIET_MS = 5_000;
const NS_PER_MS = 1e6;

export interface Delays {
  /** Times looked at, STEP_MS apart. */
  readonly count: number;
  /** Milliseconds; 0 before the first. */
  readonly maxMs: number;
  readonly p999Ms: number;
}

export interface LoopDelayReport {
  /** Until the first sync was in the kernel, and from then on. */
  readonly firstSync: Delays;
  readonly since: Delays;
}

export class LoopDelay {
  readonly #firstSync = newHistogram();
  readonly #since = newHistogram();
  #now = this.#firstSync;
  #timer: NodeJS.Timeout | null = null;
  #dueMs = 0;
  #activeMs = 0;

  /** There is something to do: what comes next may hold up the loop. */
  active(): void {
    this.#activeMs = performance.now();
    if (this.#timer !== null) return;
    this.#dueMs = this.#activeMs + STEP_MS;
    this.#timer = setInterval(() => this.#tick(), STEP_MS).unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** The first sync is in the kernel. */
  synced(): void {
    this.#tick();
    this.#now = this.#since;
  }

  report(): LoopDelayReport {
    return { firstSync: delaysOf(this.#firstSync), since: delaysOf(this.#since) };
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#now.record(Math.max(1, Math.round((nowMs - this.#dueMs) * NS_PER_MS)));
    this.#dueMs = nowMs + STEP_MS;
    if (nowMs - this.#activeMs > QUIET_MS) this.stop();
  }
}

function newHistogram(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: 600_000 * NS_PER_MS, figures: 2 });
}

function delaysOf(histogram: RecordableHistogram): Delays {
  const { count, max } = histogram;
  if (count === 0) return { count, maxMs: 0, p999Ms: 0 };
  return { count, maxMs: max / NS_PER_MS, p999Ms: histogram.percentile(99.9) / NS_PER_MS };
}
