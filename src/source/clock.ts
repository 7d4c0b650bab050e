// SPDX-License-Identifier: Apache-2.0
// Time and chance as the sources see them, so that tests can make an hour pass in a second.

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Runs once after `ms`; `keepAlive` false lets the process end before. The answer cancels it. */
  after(ms: number, run: () => void, keepAlive?: boolean): () => void;
  /** 0 ≤ x < 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run, keepAlive = true) {
    const timer = setTimeout(run, ms);
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

/** Waits `ms`, or until the signal is aborted. Never rejects. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const wake = () => {
      cancel();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const cancel = clock.after(ms, wake);
    signal.addEventListener("abort", wake);
  });
}
