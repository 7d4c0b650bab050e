// SPDX-License-Identifier: Apache-2.0
// Long loops in slices: what walks very many things lets the event loop have a turn every few milliseconds.

import { setImmediate } from "node:timers/promises";

/** Things done between two looks at the clock; a power of two. */
const STEP = 32;
const TURN_MS = 2;

/** For one loop or several in a row: `if (turns.isOver()) await turns.next();` for each thing. */
export class Turns {
  #sinceMs = performance.now();
  #count = 0;

  isOver(): boolean {
    return (++this.#count & (STEP - 1)) === 0 && performance.now() - this.#sinceMs > TURN_MS;
  }

  async next(): Promise<void> {
    await setImmediate();
    this.begin();
  }

  /** After something else was awaited. */
  begin(): void {
    this.#sinceMs = performance.now();
  }
}
