// SPDX-License-Identifier: Apache-2.0
// Does the watch tell everything? Now and then all objects are listed beside it, by name and version alone, and compared
// with what it told once it has passed the list's version. What changes meanwhile is no difference.

import { type Clock, sleep } from "./clock.ts";
import type { ListWatch, Target } from "./list-watch.ts";

export interface ComparisonOptions<T> {
  readonly requests: ListWatch<T>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Milliseconds between two of them; each time half of it to one and a half, so that nodes do not come together. */
  readonly everyMs: number;
  /** Where to ask; null while no watch is up to compare with. */
  readonly target: () => Target | null;
  /** Keys of objects of which an addition, a change or a deletion was not told. */
  readonly onMissed: (keys: readonly string[]) => void;
}

const LOOK_MS = 1_000;
/** After a doubt, or where nothing could be compared. */
const SOON_MS = 600_000;
/** So late it may be seen that the next one is due sooner than it was. */
const REST_MS = 60_000;
/** Servers send a bookmark a minute; one whose storage cannot tell its progress never passes the version. */
const PASS_MS = 150_000;
const SURELY_TOLD_MS = 60_000;

export class Comparison<T> {
  /** Those that a broken watch, a relist or a failed list kept from an end are given up. */
  readonly counters = { comparisons: 0, comparisons_given_up: 0 };
  readonly #options: ComparisonOptions<T>;
  #dueMs = 0;

  constructor(options: ComparisonOptions<T>) {
    this.#options = options;
  }

  /** Goes on until the signal. Never rejects. */
  async run(): Promise<void> {
    const { clock, signal, everyMs } = this.#options;
    this.#plan(everyMs);
    while (!signal.aborted) {
      const restMs = this.#dueMs - clock.now();
      if (restMs > 0) await sleep(clock, Math.min(restMs, REST_MS), signal);
      else this.#plan((await this.#next()) ? everyMs : SOON_MS);
    }
  }

  /** What the watch goes on from is doubted: the next one comes within a quarter of an hour. */
  hasten(): void {
    const dueMs = this.#dueMs;
    this.#plan(SOON_MS);
    this.#dueMs = Math.min(this.#dueMs, dueMs);
  }

  #plan(afterMs: number): void {
    const { clock, everyMs } = this.#options;
    this.#dueMs = clock.now() + Math.min(afterMs, everyMs) * (0.5 + clock.random());
  }

  /** Answers whether there was something to compare with. */
  async #next(): Promise<boolean> {
    const missed = await this.#compare().catch(() => null);
    if (this.#options.signal.aborted) return false;
    if (missed === null) this.counters.comparisons_given_up++;
    else this.counters.comparisons++;
    if (missed !== null && missed.length > 0) this.#options.onMissed(missed);
    return missed !== null;
  }

  /** Null: there was nothing to compare with. */
  async #compare(): Promise<readonly string[] | null> {
    const { requests, target } = this.#options;
    const { objects, toldUpTo } = requests;
    const asked = target();
    if (asked === null) return null;
    const { epoch } = objects;
    objects.beginComparison();
    try {
      const snapshot = await requests.snapshot(asked);
      // A version behind the watch's is another history.
      if (Number(snapshot.version) < Number(toldUpTo)) return null;
      const passed = await this.#passes(snapshot.version);
      return passed && objects.epoch === epoch && target() !== null ? objects.compare(snapshot) : null;
    } finally {
      objects.endComparison();
    }
  }

  /** Waits for the watch to pass the version, or until it has had time enough. */
  async #passes(version: string): Promise<boolean> {
    const { requests, clock, signal } = this.#options;
    const untilMs = clock.now() + PASS_MS;
    while (Number(requests.toldUpTo) < Number(version)) {
      if (clock.now() >= untilMs) return requests.openForMs >= SURELY_TOLD_MS;
      await sleep(clock, LOOK_MS, signal);
      if (signal.aborted) return false;
    }
    return true;
  }
}
