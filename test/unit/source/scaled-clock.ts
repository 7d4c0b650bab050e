// SPDX-License-Identifier: Apache-2.0
// Time that runs faster, and chance that does not: half a minute of backoff passes in half a second. It stands still
// while this process does, and with it the servers that the source talks to: of a turn of the event loop it counts a
// moment at most. A busy machine makes it slower, and no answer late.

import type { Clock } from "../../../src/source/clock.ts";

/** The most that passes on the wall between two looks at it. */
const MOMENT_MS = 3;

interface Wait {
  readonly dueMs: number;
  readonly run: () => void;
}

export class ScaledClock implements Clock {
  /** Every wait asked for, in the clock's own milliseconds. */
  readonly waits: number[] = [];
  factor: number;
  readonly #random: () => number;
  readonly #waiting = new Set<Wait>();
  #ticker: NodeJS.Timeout | null = null;
  #nowMs = 0;
  #lookedMs = performance.now();

  constructor(factor: number, random: () => number = () => 0.5) {
    this.factor = factor;
    this.#random = random;
  }

  /** Waits that are neither over nor cancelled. */
  get pending(): number {
    return this.#waiting.size;
  }

  /** Goes on while somebody waits. */
  now(): number {
    const wallMs = performance.now();
    this.#nowMs += Math.min(wallMs - this.#lookedMs, MOMENT_MS) * this.factor;
    this.#lookedMs = wallMs;
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    this.waits.push(ms);
    return this.#wait(ms, run);
  }

  /** Lets so much of its time pass; no wait of the source's. */
  pass(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#wait(ms, resolve));
  }

  random(): number {
    return this.#random();
  }

  #wait(ms: number, run: () => void): () => void {
    const wait = { dueMs: this.now() + ms, run };
    this.#waiting.add(wait);
    this.#ticker ??= setInterval(() => this.#tick(), 1);
    return () => void this.#waiting.delete(wait);
  }

  #tick(): void {
    const nowMs = this.now();
    const due = [...this.#waiting].filter(({ dueMs }) => dueMs <= nowMs).sort((a, b) => a.dueMs - b.dueMs);
    for (const wait of due) if (this.#waiting.delete(wait)) wait.run();
    if (this.#waiting.size > 0) return;
    clearInterval(this.#ticker ?? undefined);
    this.#ticker = null;
  }
}
