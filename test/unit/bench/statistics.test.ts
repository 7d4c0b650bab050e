// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { midmean, quantile, Run } from "../../../bench/statistics.ts";

/** Noise that is the same in every run of the tests: a sum of uniform numbers, mean 0, deviation about 0.06. */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296 - 0.5;
  };
  return () => 0.1 * (uniform() + uniform() + uniform() + uniform()) * 0.5;
}

const samples = (level: number, seed: number, rounds = 300): Float64Array => {
  const next = noise(seed);
  return Float64Array.from({ length: rounds }, () => level * (1 + next()));
};

describe("midmean", () => {
  test("is the mean of the middle half", () => {
    expect(midmean(Float64Array.of(8, 1, 2, 3, 4, 100, 5, 6))).toBe(4.5);
  });

  test("counts a sample at the border of the middle half by the part of it that lies inside", () => {
    // Six samples: the middle half is 1.5 … 4.5, half of the second, all of the third and fourth, half of the fifth.
    expect(midmean(Float64Array.of(0, 2, 3, 4, 5, 1_000))).toBeCloseTo((1 + 3 + 4 + 2.5) / 3, 12);
  });

  test("is not moved by a quarter of disturbed blocks", () => {
    const calm = samples(100, 1);
    const disturbed = calm.map((value, n) => (n % 5 === 0 ? value * 50 : value));
    expect(midmean(disturbed) / midmean(calm)).toBeLessThan(1.03);
  });
});

test("quantile takes a sample by rank", () => {
  const values = Float64Array.from({ length: 100 }, (_, n) => 99 - n);
  expect(quantile(values, 0.5)).toBe(50);
  expect(quantile(values, 0.99)).toBe(99);
  expect(quantile(values, 1)).toBe(99);
});

describe("Run", () => {
  test("finds a difference of 2 % with its interval", () => {
    const run = new Run(
      new Map([
        ["direct", samples(20_000, 7)],
        ["other", samples(20_400, 99)],
      ]),
    );
    const { ratio, difference } = run.compare("other", "direct");
    expect(ratio.low).toBeLessThan(1.02);
    expect(ratio.high).toBeGreaterThan(1.02);
    expect(ratio.high - ratio.low).toBeLessThan(0.03);
    expect(difference.value).toBeCloseTo(400, -2);
  });

  test("says 1 of an arm against itself: both come from the same rounds", () => {
    const run = new Run(new Map([["direct", samples(20_000, 7)]]));
    expect(run.compare("direct", "direct").ratio).toEqual({ value: 1, low: 1, high: 1 });
  });

  test("lets what disturbed both arms of a round cancel", () => {
    const shared = noise(5);
    const factors = Float64Array.from({ length: 300 }, () => 1 + 4 * shared());
    const base = samples(100, 1).map((value, n) => value * (factors[n] ?? 1));
    const run = new Run(
      new Map([
        ["direct", base],
        ["other", base.map((value) => value * 1.01)],
      ]),
    );
    const { low, high } = run.compare("other", "direct").ratio;
    expect(high - low).toBeLessThan(0.001);
  });

  test("gives figures made of several arms, and throws for an arm it has not", () => {
    const run = new Run(
      new Map([
        ["a", samples(300, 1)],
        ["b", samples(200, 2)],
        ["c", samples(100, 3)],
      ]),
    );
    const figure = run.figure(["a", "b", "c"], ([a = 0, b = 0, c = 0]) => (a - c) / (b - c));
    expect(figure.low).toBeLessThan(2);
    expect(figure.high).toBeGreaterThan(2);
    expect(() => run.level("d")).toThrow("no arm d");
  });
});
