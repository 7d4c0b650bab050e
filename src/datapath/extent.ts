// SPDX-License-Identifier: Apache-2.0
// The extent word of pt_services: base:32 | count:24 | algorithm:8, published by one store.

/** Most slots that one extent can have. */
const MAX_EXTENT_SLOTS = 0xffffff;

export function extentWord(base: number, count: number, algorithm: number): bigint {
  return BigInt(base) | (BigInt(count) << 32n) | (BigInt(algorithm) << 56n);
}

export interface ExtentWord {
  readonly base: number;
  readonly count: number;
  /** layout.ts ALGORITHM. */
  readonly algorithm: number;
}

export function parseExtentWord(word: bigint): ExtentWord {
  const high = Number((word >> 32n) & 0xffffffffn);
  return { base: Number(word & 0xffffffffn), count: high & MAX_EXTENT_SLOTS, algorithm: high >>> 24 };
}
