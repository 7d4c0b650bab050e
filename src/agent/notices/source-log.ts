// SPDX-License-Identifier: Apache-2.0
// Tells the log what becomes of the source: when it goes away and when it is back, once each, not at every try in
// between; what it held back; and what it had missed.

import type { Logger } from "pino";
import { denialOf } from "../../source/api-error.ts";
import type { MassDeletionNotice, ReflectorWatcher } from "../../source/reflector.ts";
import type { SourceStatus } from "../../source/source.ts";

/** Names said in one line of the log. */
const MAX_NAMED = 10;

export class SourceLog {
  readonly #log: Logger;
  readonly #pinnedUnits: number;
  #awaySinceMs = 0;
  #denied: number | null = null;
  #refuses = false;

  /** `pinnedUnits`: what was found in the maps at the start. */
  constructor(log: Logger, pinnedUnits: number) {
    this.#log = log;
    this.#pinnedUnits = pinnedUnits;
  }

  /** RFC 3339, to the second; null while it is not away. */
  get awaySince(): string | null {
    return this.#awaySinceMs === 0 ? null : `${new Date(this.#awaySinceMs).toISOString().slice(0, 19)}Z`;
  }

  /** To be called now and then with the source's present status. */
  observe(status: SourceStatus): void {
    this.#observeRefusals(status);
    this.#observeAbsence(status);
  }

  #observeRefusals({ refused, peer }: SourceStatus): void {
    const refuses = refused.length > 0;
    if (refuses === this.#refuses) return;
    this.#refuses = refuses;
    if (refuses) this.#log.warn({ peer, refused }, "refused by the API server: what hangs on it is done without");
    else this.#log.info({ peer }, "nothing is refused by the API server any more");
  }

  #observeAbsence(status: SourceStatus): void {
    const { source, state, peer, reason, denied } = status;
    const away = reason !== null && state !== "synced";
    // Between two tries the reason is gone for a moment: only a source that is synced is back.
    if (!away && (state !== "synced" || this.#awaySinceMs === 0)) return;
    // In one absence a login that is turned away is news once, whatever comes in between.
    if (away && this.#awaySinceMs > 0 && (denied === null || denied === this.#denied)) return;
    const seconds = Math.round((Date.now() - this.#awaySinceMs) / 1_000);
    this.#denied = denied;
    if (!away) this.#awaySinceMs = 0;
    else if (this.#awaySinceMs === 0) this.#awaySinceMs = Date.now();
    if (!away) this.#log.info({ source, peer, seconds }, "the source is back");
    else
      this.#log.warn({ source, peer, reason, since: this.awaySince, ...this.#serving(status) }, this.#trouble(status));
  }

  /** What a start without a source goes on with. */
  #serving({ state }: SourceStatus): { readonly units?: number } {
    return state === "starting" && this.#pinnedUnits > 0 ? { units: this.#pinnedUnits } : {};
  }

  #trouble(status: SourceStatus): string {
    const what = status.denied === null ? "the source is away" : `the API server refuses: ${denialOf(status.denied)}`;
    return "units" in this.#serving(status)
      ? `${what}: serving what was pinned by the agent before, and it is tried again`
      : `${what}; what is programmed stays, and it is tried again`;
  }
}

/** What the API server's lists and watches got wrong, as lines of the log. */
export function sourceWatcher(log: Logger, onHeld: (notice: MassDeletionNotice) => void): Required<ReflectorWatcher> {
  return {
    onMassDeletion(notice) {
      const { state, ...facts } = notice;
      if (state === "held") log.warn(facts, MASS_DELETION[state]);
      else log.info(facts, MASS_DELETION[state]);
      if (state === "held") onHeld(notice);
    },
    onMissedEvents(resource, keys) {
      const names = keys.slice(0, MAX_NAMED);
      log.error({ resource, count: keys.length, names }, "the watch did not tell of changes: all is listed anew");
    },
  };
}

const MASS_DELETION: Readonly<Record<MassDeletionNotice["state"], string>> = {
  held: "a list lacks more than half of what is known: it stays until a second consistent read says so too",
  confirmed: "a second read lacks it too: it is deleted",
  refuted: "a second read shows it: the first was wrong, nothing is deleted",
};
