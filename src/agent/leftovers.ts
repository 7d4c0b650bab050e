// SPDX-License-Identifier: Apache-2.0
// What an earlier agent pinned, and a first list that has no word of it: who starts on an API server that shows less than
// there is would take it all away. If that is most of it, the source is read a second time before anything is written.

import type { Logger } from "pino";
import type { StoreView } from "../model/store.ts";
import type { UnitStatus } from "../program/status.ts";
import type { Source } from "../source/source.ts";

/** This many units may go at once in any case. */
const FEW = 20;

export interface LeftoversOptions {
  readonly source: Source;
  readonly log: Logger;
  /** False: the first list is believed. */
  readonly confirm: boolean;
}

export class Leftovers {
  readonly #options: LeftoversOptions;

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  /** Resolves when what the store holds may be acted on, given what the maps hold. */
  async settle(pinned: Iterable<UnitStatus>, store: StoreView): Promise<void> {
    const { source, log, confirm } = this.#options;
    const units = [...pinned].map(({ state }) => state);
    const missing = units.filter(({ name, backendIds }) => {
      const service = name.split(":", 1)[0] ?? "";
      const emptied = backendIds.length > 0 && store.slicesOf(service).every(({ count }) => count === 0);
      return emptied || store.getService(service) === undefined;
    }).length;
    if (!confirm || source.reread === undefined || units.length <= FEW || missing * 2 <= units.length) return;
    const facts = { missing, of: units.length };
    log.warn(
      facts,
      "most of what is pinned is in no list, or without endpoints: it stays until a second read says so too",
    );
    await source.reread();
  }
}
