// SPDX-License-Identifier: Apache-2.0
// The Bloom filter's bit is computed as the programs do: with 64 bits, of which JavaScript's numbers have not enough.

import { expect, test } from "vitest";
import { AddressBits, addressBit } from "../../../src/datapath/address-bits.ts";
import { addressBytes } from "../../../src/model/address.ts";
import { fc } from "../../support/property.ts";

/** lb_may_be_ours() of bpf/lb.h, word for word. */
function reference(address: Uint8Array): number {
  const [high = 0n, low = 0n] = new BigUint64Array(address.slice().buffer);
  const hash = (low ^ ((high >> 32n) | (high << 32n))) * 0x9e3779b97f4a7c15n;
  return Number(BigInt.asUintN(64, hash) >> 45n);
}

test("an address has the bit that the programs look at", () => {
  const any = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(any, (address) => addressBit(address) === reference(address)),
    { numRuns: 20_000 },
  );
  for (const text of ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::8000"])
    expect(addressBit(addressBytes(text)), text).toBe(reference(addressBytes(text)));
});

test("a bit is set once, and again only where somebody took it away", () => {
  const buffer = new ArrayBuffer(1 << 16);
  const bits = new AddressBits({ buffer });
  const address = addressBytes("10.96.0.1");
  expect([bits.cover(address), bits.cover(address), bits.mend()]).toEqual([true, false, 0]);
  const bit = addressBit(address);
  const word = new BigUint64Array(buffer)[Math.floor(bit / 64)] ?? 0n;
  expect(word).toBe(1n << BigInt(bit % 64));
  new Uint8Array(buffer).fill(0);
  expect([bits.mend(), bits.mend(), bits.cover(address)]).toEqual([1, 0, false]);
});
