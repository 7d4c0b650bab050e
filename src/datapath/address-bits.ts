// SPDX-License-Identifier: Apache-2.0
// pt_address_bits: the Bloom filter in front of pt_frontends and pt_node_addrs, so that a call to somewhere else costs
// one load. A bit is set before its row is written. None is cleared: a stale bit costs a call two look-ups, no more.

import type { MmapView } from "libbpf-ts";

/** ADDRESS_BITS_LOG2 and ADDRESS_BITS_MULTIPLIER of bpf/types.h. */
const BITS_LOG2 = 19;
const MULTIPLIER = 0x9e3779b97f4a7c15n;

/** The bit of a 16-byte address: lb_may_be_ours() of bpf/lb.h. */
export function addressBit(address: Uint8Array): number {
  const halves = new DataView(address.buffer, address.byteOffset, 16);
  const low = halves.getBigUint64(8, true);
  const swapped = (BigInt(halves.getUint32(0, true)) << 32n) | BigInt(halves.getUint32(4, true));
  return Number(BigInt.asUintN(64, (low ^ swapped) * MULTIPLIER) >> BigInt(64 - BITS_LOG2));
}

type Words = Pick<MmapView, "buffer" | "load64" | "store64" | "store32">;

export class AddressBits {
  readonly #view: Words;
  readonly #words: Uint32Array;
  /** Every bit that was asked for. */
  readonly #covered = new Uint32Array(2 ** BITS_LOG2 / 32);
  #last = -1;

  constructor(view: Words) {
    if (view.buffer.byteLength < 2 ** BITS_LOG2 / 8) throw new RangeError("pt_address_bits is too small");
    this.#view = view;
    this.#words = new Uint32Array(view.buffer);
  }

  /** Sets the bit of an address. False: it was set. */
  cover(address: Uint8Array): boolean {
    const bit = addressBit(address);
    if (bit === this.#last) return false;
    this.#last = bit;
    const half = Math.floor(bit / 32);
    this.#covered[half] = (this.#covered[half] ?? 0) | (1 << (bit % 32));
    const offset = Math.floor(bit / 64) * 8;
    const word = this.#view.load64(offset);
    const wanted = word | (1n << BigInt(bit % 64));
    if (wanted === word) return false;
    this.#view.store64(offset, wanted);
    return true;
  }

  /** Sets every bit that was set and is not. Returns how many words that took. */
  mend(): number {
    let mended = 0;
    for (let i = 0; i < this.#covered.length; i++) {
      const covered = this.#covered[i] ?? 0;
      const word = this.#words[i] ?? 0;
      if ((word & covered) >>> 0 === covered) continue;
      this.#view.store32(i * 4, (word | covered) >>> 0);
      mended++;
    }
    return mended;
  }
}
