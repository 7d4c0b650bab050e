// SPDX-License-Identifier: Apache-2.0
// The addresses of a slice's endpoints as plain numbers: an array of bytes would cost more than twice as much, most of it
// for being one, in each of tens of thousands of slices.

import { ADDRESS_BYTES } from "./address.ts";
import type { Family } from "./types.ts";

/** Addresses of one family, as signed 32-bit words, the highest byte first: one an IPv4 address, four one of IPv6. */
export interface AddressList {
  readonly family: Family;
  readonly addresses: readonly number[];
}

/** Adds the address of this family that stands in bytes[0 … 15]. */
export function appendAddress(words: number[], family: Family, bytes: Uint8Array): void {
  for (let at = family === 4 ? ADDRESS_BYTES - 4 : 0; at < ADDRESS_BYTES; at += 4) {
    words.push(
      ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0),
    );
  }
}

/** One of the four words of the index-th address as the maps hold it: IPv4 as ::ffff:a.b.c.d. */
export function addressWord({ family, addresses }: AddressList, index: number, word: number): number {
  if (family === 6) return addresses[4 * index + word] ?? 0;
  if (word === 3) return addresses[index] ?? 0;
  return word === 2 ? 0xffff : 0;
}

/** Writes the index-th address into bytes[0 … 15]. */
export function copyAddress(list: AddressList, index: number, bytes: Uint8Array): void {
  for (let word = 0; word < 4; word++) {
    const value = addressWord(list, index, word);
    bytes[4 * word] = value >>> 24;
    bytes[4 * word + 1] = value >>> 16;
    bytes[4 * word + 2] = value >>> 8;
    bytes[4 * word + 3] = value;
  }
}
