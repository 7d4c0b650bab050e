// SPDX-License-Identifier: Apache-2.0
// Cuts long work into slices, so that nothing a source reads holds up the event loop.

import { setImmediate as immediate } from "node:timers/promises";

const SLICE_MS = 10;

export class Slicer {
  #startedMs = performance.now();

  /** True when this slice is used up: await `next()` then. */
  get due(): boolean {
    return performance.now() - this.#startedMs > SLICE_MS;
  }

  async next(): Promise<void> {
    await immediate();
    this.#startedMs = performance.now();
  }
}
