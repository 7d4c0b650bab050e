// SPDX-License-Identifier: Apache-2.0
// Gives back what reading everything once has left behind: V8 keeps the pages that a list of a whole cluster needed for
// a moment, a third of the agent's memory, until it is told that nothing better will come of them.

import { getHeapStatistics } from "node:v8";

/** A collection that moves what lives together takes a tenth of a second: only in silence, and rarely. */
const QUIET_MS = 10_000;
const APART_MS = 300_000;
/** Worth it when the heap has grown by so much since. */
const GROWTH = 1.4;

/** What node's --expose-gc adds: without the flag there is nothing to call, and the heap stays as it is. */
type Collect = (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;

export class HeapTrim {
  readonly #collect: Collect | undefined = (globalThis as { gc?: Collect }).gc;
  #trimmedMs = Number.NEGATIVE_INFINITY;
  #trimmedBytes = 0;

  /** To be called now and then; `silentMs`: since when nothing was programmed. Before the first sync: not at all. */
  tick(silentMs: number): void {
    const first = this.#trimmedBytes === 0;
    const now = performance.now();
    if (!first && (silentMs < QUIET_MS || now - this.#trimmedMs < APART_MS)) return;
    if (!first && getHeapStatistics().total_heap_size < this.#trimmedBytes * GROWTH) return;
    this.#collect?.({ type: "major", execution: "sync", flavor: "last-resort" });
    this.#trimmedMs = now;
    this.#trimmedBytes = getHeapStatistics().total_heap_size;
  }
}
