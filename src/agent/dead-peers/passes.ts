// SPDX-License-Identifier: Apache-2.0
// When there is a pass: one after the other, a tenth of a second apart at least, whatever the rate of changes; and after
// one that failed, not before some seconds have gone by.

const PASS_EVERY_MS = 100;
const AFTER_FAILURE_MS = 5_000;

export interface PassesParts {
  readonly pass: () => Promise<void>;
  /** When the next one is wanted, on the monotonic clock; Infinity: not before wake() is called again. */
  readonly wantedMs: () => number;
  /** After each: why it failed; null if it did not. */
  readonly onEnd: (failure: string | null) => void;
}

export class Passes {
  readonly #parts: PassesParts;
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = 0;
  #running: Promise<void> | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(parts: PassesParts) {
    this.#parts = parts;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /** There may be something to do. */
  wake(): void {
    if (this.#stopped || this.#running !== null) return;
    const wanted = this.#parts.wantedMs();
    if (wanted === Number.POSITIVE_INFINITY) return;
    const atMs = Math.max(wanted, this.#lastMs + PASS_EVERY_MS);
    if (this.#timer !== null && this.#timerAtMs <= atMs) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => this.#start(), Math.max(0, atMs - performance.now()));
    this.#timer.unref();
  }

  /** Resolves when none runs any more; there is none afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
  }

  #start(): void {
    const { pass, onEnd } = this.#parts;
    this.#timer = null;
    this.#lastMs = performance.now();
    this.#running = pass()
      .then(
        () => onEnd(null),
        (error: unknown) => {
          this.#lastMs += AFTER_FAILURE_MS;
          onEnd((error as Error).message);
        },
      )
      .finally(() => {
        this.#running = null;
        this.wake();
      });
  }
}
