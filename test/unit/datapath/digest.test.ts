// SPDX-License-Identifier: Apache-2.0
// A digest that is the same for the same contents, rows in whatever order, and another for any other.

import { expect, test } from "vitest";
import { Digest } from "../../../src/datapath/digest.ts";

const KEY = 20;
const VALUE = 8;
const ROWS = 50;

const bytes = (size: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: ROWS * size }, (_, i) => (i * 31 + (i >> 3) * seed) & 0xff);
const keys = bytes(KEY, 7);
for (let row = 0; row < ROWS; row++) keys[row * KEY] = row * 5;
const values = bytes(VALUE, 11);
const words = new Uint32Array(values.buffer);

function digestOf(change: { keys?: Uint8Array; values?: Uint8Array; words?: Uint32Array } = {}): string {
  const digest = new Digest();
  digest.rows(change.keys ?? keys, change.values ?? values, ROWS);
  digest.words(change.words ?? words, 0, words.length);
  return digest.toString();
}

const flipped = <T extends Uint8Array | Uint32Array>(array: T, at: number, bit: number): T => {
  const changed = array.slice() as T;
  changed[at] = (changed[at] ?? 0) ^ (1 << bit);
  return changed;
};

test("every bit counts", () => {
  const seen = new Set([digestOf()]);
  let changes = 0;
  for (let bit = 0; bit < 8; bit++) {
    for (let at = 0; at < keys.length; at++, changes++) seen.add(digestOf({ keys: flipped(keys, at, bit) }));
    for (let at = 0; at < values.length; at++, changes++) seen.add(digestOf({ values: flipped(values, at, bit) }));
    for (let at = 0; at < words.length; at++, changes++) seen.add(digestOf({ words: flipped(words, at, bit * 4) }));
  }
  expect(seen.size).toBe(changes + 1);
});

test("rows may come in any order, also in parts; an array's elements have their places", () => {
  const turned = (array: Uint8Array, size: number): Uint8Array =>
    Uint8Array.from(array, (_, i) => array[(ROWS - 1 - Math.floor(i / size)) * size + (i % size)] ?? 0);
  expect(digestOf({ keys: turned(keys, KEY), values: turned(values, VALUE) })).toBe(digestOf());
  const parts = new Digest();
  for (const [from, to] of [
    [20, ROWS],
    [0, 20],
  ] as const) {
    parts.rows(keys.slice(from * KEY, to * KEY), values.slice(from * VALUE, to * VALUE), to - from);
  }
  parts.words(words, 0, words.length);
  expect(parts.toString()).toBe(digestOf());
  expect(digestOf({ words: words.toReversed() })).not.toBe(digestOf());
});
