// SPDX-License-Identifier: Apache-2.0
// When there is a pass, by a clock that the test turns.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Passes } from "../../../../src/agent/dead-peers/passes.ts";

const NEVER = Number.POSITIVE_INFINITY;
let startedMs: number[];
let ends: (string | null)[];
let wantedMs: number;
let pass: () => Promise<void>;
let passes: Passes;

beforeEach(() => {
  vi.useFakeTimers();
  const zeroMs = performance.now();
  [startedMs, ends, wantedMs, pass] = [[], [], 0, () => Promise.resolve()];
  passes = new Passes({
    pass: () => {
      startedMs.push(performance.now() - zeroMs);
      return pass();
    },
    wantedMs: () => zeroMs + wantedMs,
    onEnd: (failure) => ends.push(failure),
  });
});
afterEach(() => vi.useRealTimers());

test("at once, and then a tenth of a second apart, however often one is asked for", async () => {
  for (let ms = 0; ms < 350; ms += 10) {
    passes.wake();
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(startedMs).toEqual([0, 100, 200, 300]);
});

test("when it is wanted; sooner, if that changes; never, if it is not", async () => {
  wantedMs = 5_000;
  passes.wake();
  wantedMs = 2_000;
  passes.wake();
  pass = async () => {
    wantedMs = NEVER;
  };
  await vi.advanceTimersByTimeAsync(60_000);
  expect(startedMs).toEqual([2_000]);
});

test("after one that failed, not before five seconds more", async () => {
  pass = () => Promise.reject(new Error("no"));
  passes.wake();
  await vi.advanceTimersByTimeAsync(5_200);
  expect(startedMs).toEqual([0, 5_100]);
  expect(ends).toEqual(["no", "no"]);
});

test("one after the other; none after the last one's end", async () => {
  const long = Promise.withResolvers<void>();
  pass = () => long.promise;
  passes.wake();
  await vi.advanceTimersByTimeAsync(1_000);
  passes.wake();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(startedMs).toEqual([0]);
  const stopped = passes.stop();
  long.resolve();
  await stopped;
  passes.wake();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(startedMs).toEqual([0]);
  expect(passes.isStopped).toBe(true);
});
