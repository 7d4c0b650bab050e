// SPDX-License-Identifier: Apache-2.0
// pt_address_bits: the Bloom filter in front of pt_frontends and pt_node_addrs, so that a call to somewhere else costs
// one load. A bit is set before its row is written. None is cleared: a stale bit costs a call two look-ups, no more.

import type { MmapView } from "libbpf-ts";

/** ADDRESS_BITS_LOG2 of bpf/types.h, and the halves of its ADDRESS_BITS_MULTIPLIER. */
const BITS_LOG2 = 19;
const MULTIPLIER_HIGH = 0x9e3779b9;
const MULTIPLIER_LOW = 0x7f4a7c15;

/**
 * The bit of a 16-byte address: lb_may_be_ours() of bpf/lb.h. In halves of 64 bits, as a cold start asks for tens of
 * thousands and a BigInt each would be a fifth of its time.
 */
export function addressBit(address: Uint8Array): number {
  const low = wordAt(address, 8) ^ wordAt(address, 4);
  const high = wordAt(address, 12) ^ wordAt(address, 0);
  const product = upperHalf(low, MULTIPLIER_LOW) + Math.imul(high, MULTIPLIER_LOW) + Math.imul(low, MULTIPLIER_HIGH);
  return product >>> (32 - BITS_LOG2);
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}

/** Of the product of two 32-bit numbers, both without a sign. */
function upperHalf(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (other >>> 16);
}

export class AddressBits {
  readonly #words: Uint32Array;
  /** Every bit that was asked for. */
  readonly #covered = new Uint32Array(2 ** BITS_LOG2 / 32);

  /** A bit is one plain store: none is taken back, and the row comes with a system call after it. */
  constructor(view: Pick<MmapView, "buffer">) {
    if (view.buffer.byteLength < 2 ** BITS_LOG2 / 8) throw new RangeError("pt_address_bits is too small");
    this.#words = new Uint32Array(view.buffer);
  }

  /** Sets the bit of an address. False: it was set. */
  cover(address: Uint8Array): boolean {
    const bit = addressBit(address);
    const at = bit >>> 5;
    const mask = 1 << (bit & 31);
    this.#covered[at] = (this.#covered[at] ?? 0) | mask;
    const word = this.#words[at] ?? 0;
    if ((word & mask) !== 0) return false;
    this.#words[at] = word | mask;
    return true;
  }

  /** Sets every bit that was set and is not. Returns how many words that took. */
  mend(): number {
    let mended = 0;
    for (let i = 0; i < this.#covered.length; i++) {
      const covered = this.#covered[i] ?? 0;
      const word = this.#words[i] ?? 0;
      if ((word & covered) >>> 0 === covered) continue;
      this.#words[i] = word | covered;
      mended++;
    }
    return mended;
  }
}
