// SPDX-License-Identifier: Apache-2.0
// Gives back what reading everything once has left behind: V8 keeps the pages that a list of a whole cluster needed for
// a moment, a third of the agent's memory. Asked to mind its size it collects and compacts, bit by bit, when it has been
// left alone for some seconds; a collection by command would stop everything for a tenth of a second and more. What is
// freed by that, the bytes of arrays for the most part, the C library keeps until it is told otherwise.

import { setFlagsFromString } from "node:v8";
import { sys } from "libbpf-ts";

/** While things change, memory is not what counts. */
const QUIET_MS = 5_000;
/** V8 is through by then; and again after as long, for audits leave something, too. It takes a millisecond. */
const GIVE_BACK_MS = 20_000;

export class HeapTrim {
  #minding = false;
  /** How long the silence had lasted when memory was given back last. */
  #givenBackMs = 0;

  /** To be called now and then; `silentMs`: since when nothing was programmed. */
  tick(silentMs: number): void {
    this.#mind(silentMs >= QUIET_MS);
    if (silentMs < this.#givenBackMs) this.#givenBackMs = 0;
    if (silentMs - this.#givenBackMs < GIVE_BACK_MS) return;
    this.#givenBackMs = silentMs;
    sys.mallocTrim();
  }

  #mind(minding: boolean): void {
    if (minding === this.#minding) return;
    this.#minding = minding;
    setFlagsFromString(minding ? "--optimize-for-size" : "--no-optimize-for-size");
  }
}
