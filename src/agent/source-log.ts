// SPDX-License-Identifier: Apache-2.0
// Tells the log when the source goes away and when it is back: once each, not at every try in between.

import type { Logger } from "pino";
import type { SourceStatus } from "../source/source.ts";

export class SourceLog {
  readonly #log: Logger;
  #away = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** To be called now and then with the source's present status. */
  observe({ source, state, peer, reason }: SourceStatus): void {
    const away = reason !== null && state !== "synced";
    if (away === this.#away) return;
    // Between two tries the reason is gone for a moment: only a source that is synced is back.
    if (!away && state !== "synced") return;
    this.#away = away;
    if (away)
      this.#log.warn({ source, peer, reason }, "the source is away; what is programmed stays, and it is tried again");
    else this.#log.info({ source, peer }, "the source is back");
  }
}
