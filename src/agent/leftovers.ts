// SPDX-License-Identifier: Apache-2.0
// What an earlier agent pinned and no object explains: may it go? If it is most of what was pinned, a first list may have
// been wrong, and the source is read a second time before.

import type { Logger } from "pino";
import type { Source } from "../source/source.ts";

/** This many units may go at once in any case. */
const FEW = 20;

export interface LeftoversOptions {
  readonly source: Source;
  readonly log: Logger;
  /** Units found in the maps at the start. */
  readonly found: number;
  /** False: what the first list lacks goes. */
  readonly confirm: boolean;
}

export class Leftovers {
  readonly #options: LeftoversOptions;
  #asked = false;

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  /** True: the `left` units may go now. False: `askAgain` is called once the source has been read a second time. */
  mayGo(left: number, askAgain: () => void): boolean {
    const { source, log, found, confirm } = this.#options;
    const doubtful = confirm && found > FEW && left * 2 > found;
    if (!doubtful || this.#asked || source.reread === undefined) return true;
    this.#asked = true;
    log.warn(
      { missing: left, of: found },
      "most of what was pinned is in no list: it stays until a second read says so",
    );
    void source.reread().then(askAgain);
    return false;
  }
}
