// SPDX-License-Identifier: Apache-2.0
// A cheap 64-bit digest of maps, to tell that nothing has changed: against accidents and other people's tools, not against
// an enemy, who could as well write to the maps.

const ODD = 0x9e3779b1;
const SEED_A = 0x811c9dc5;
const SEED_B = 0x2545f491;

export class Digest {
  #a = SEED_A;
  #b = SEED_B;
  /** Sums: of rows that come in any order. */
  #sumA = 0;
  #sumB = 0;

  /** Elements of an array, in their places. */
  words(words: Uint32Array, from: number, to: number): void {
    let a = this.#a;
    let b = this.#b;
    for (let i = from; i < to; i++) {
      const word = words[i] ?? 0;
      a = Math.imul(a ^ word, ODD);
      a ^= a >>> 15;
      b = Math.imul(b + word, ODD) ^ (b >>> 13);
    }
    this.#a = a;
    this.#b = b;
  }

  /** Rows of a hash, packed, in whatever order they come. Sizes are multiples of four. */
  rows(keys: Uint8Array, values: Uint8Array, count: number): void {
    const keyWords = wordsOf(keys);
    const valueWords = wordsOf(values);
    const keySize = keyWords.length / count;
    const valueSize = valueWords.length / count;
    const row = new Digest();
    for (let i = 0; i < count; i++) {
      row.#a = SEED_A;
      row.#b = SEED_B;
      row.words(keyWords, i * keySize, (i + 1) * keySize);
      row.words(valueWords, i * valueSize, (i + 1) * valueSize);
      this.#sumA = (this.#sumA + spread(row.#a)) | 0;
      this.#sumB = (this.#sumB + spread(row.#b)) | 0;
    }
  }

  toString(): string {
    return [this.#a, this.#b, this.#sumA, this.#sumB].map((part) => (part >>> 0).toString(16)).join("-");
  }
}

/** Every bit moves every other: what differs in the last word only must not cancel out in a sum. */
function spread(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35);
  return twice ^ (twice >>> 16);
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
