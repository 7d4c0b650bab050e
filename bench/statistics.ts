// SPDX-License-Identifier: Apache-2.0
// How one arm compares with another of the same run: the means of the middle half of their blocks, and how far that
// could be off, by resampling whole rounds (both arms of a round stay together, so what disturbed both cancels).

export interface Interval {
  readonly value: number;
  /** Ends of the 95 % interval. */
  readonly low: number;
  readonly high: number;
}

export interface Comparison {
  /** arm / base. */
  readonly ratio: Interval;
  /** arm − base, in the unit of the samples. */
  readonly difference: Interval;
}

const RESAMPLES = 2_000;

/** A generator of whole numbers below n; the same for the same seed. */
function randomSource(seed: number): (n: number) => number {
  let state = (seed * 2_654_435_769) >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return Math.floor((state / 4_294_967_296) * n);
  };
}

/** Indices of the samples, smallest first. */
function ranking(samples: Float64Array): Uint32Array {
  const order = Uint32Array.from(samples, (_, index) => index);
  return order.sort((a, b) => (samples[a] ?? 0) - (samples[b] ?? 0));
}

/**
 * Mean of the middle half of a multiset: sample i taken counts[i] times, `order` its ranking, `total` the sum of counts.
 * Blocks hit by an interrupt or a stolen CPU lie in the outer quarters, so they do not move it.
 */
function middleMean(samples: Float64Array, order: Uint32Array, counts: Uint16Array, total: number): number {
  const from = total / 4;
  const to = total - from;
  let passed = 0;
  let sum = 0;
  for (const index of order) {
    const next = passed + (counts[index] ?? 0);
    const inside = Math.min(next, to) - Math.max(passed, from);
    if (inside > 0) sum += inside * (samples[index] ?? 0);
    if (next >= to) break;
    passed = next;
  }
  return sum / (to - from);
}

/** The mean of the middle half of the samples. */
export function midmean(samples: Float64Array): number {
  return middleMean(samples, ranking(samples), new Uint16Array(samples.length).fill(1), samples.length);
}

/** Value at a share (0 … 1) of the samples, by rank. */
export function quantile(samples: Float64Array, share: number): number {
  const sorted = samples.slice().sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

const interval = (value: number, resampled: Float64Array): Interval => ({
  value,
  low: quantile(resampled, 0.025),
  high: quantile(resampled, 0.975),
});

/** Rounds drawn with replacement, RESAMPLES times: how often each round was drawn. */
function draws(rounds: number, seed: number): Uint16Array[] {
  const random = randomSource(seed);
  return Array.from({ length: RESAMPLES }, () => {
    const counts = new Uint16Array(rounds);
    for (let i = 0; i < rounds; i++) {
      const drawn = random(rounds);
      counts[drawn] = (counts[drawn] ?? 0) + 1;
    }
    return counts;
  });
}

/** The arms of one run, each with one sample a round. */
export class Run {
  readonly #arms: ReadonlyMap<string, Float64Array>;
  readonly #draws: Uint16Array[];
  readonly #resampled = new Map<string, Float64Array>();
  readonly #rounds: number;

  constructor(arms: ReadonlyMap<string, Float64Array>, seed = 1) {
    const [first] = arms.values();
    this.#arms = arms;
    this.#rounds = first?.length ?? 0;
    this.#draws = draws(this.#rounds, seed);
  }

  arms(): string[] {
    return [...this.#arms.keys()];
  }

  has(arm: string): boolean {
    return this.#arms.has(arm);
  }

  samples(arm: string): Float64Array {
    const samples = this.#arms.get(arm);
    if (!samples) throw new Error(`no arm ${arm}`);
    return samples;
  }

  /** The arm's own level, in the unit of the samples. */
  level(arm: string): number {
    return midmean(this.samples(arm));
  }

  compare(arm: string, base: string): Comparison {
    return {
      ratio: this.figure([arm, base], ([a = 0, b = 0]) => a / b),
      difference: this.figure([arm, base], ([a = 0, b = 0]) => a - b),
    };
  }

  /** Any figure made of the levels of several arms, with its interval. */
  figure(arms: readonly string[], of: (levels: readonly number[]) => number): Interval {
    const resampled = arms.map((arm) => this.#resample(arm));
    const values = Float64Array.from(this.#draws, (_, n) => of(resampled.map((levels) => levels[n] ?? 0)));
    return interval(of(arms.map((arm) => this.level(arm))), values);
  }

  #resample(arm: string): Float64Array {
    const known = this.#resampled.get(arm);
    if (known) return known;
    const samples = this.samples(arm);
    const order = ranking(samples);
    const levels = Float64Array.from(this.#draws, (counts) => middleMean(samples, order, counts, this.#rounds));
    this.#resampled.set(arm, levels);
    return levels;
  }
}
