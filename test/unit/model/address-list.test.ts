// SPDX-License-Identifier: Apache-2.0
// A list of addresses gives back the bytes it was given, in both families.

import { expect, test } from "vitest";
import { ADDRESS_BYTES, addressBytes } from "../../../src/model/address.ts";
import { addressWord, appendAddress, copyAddress } from "../../../src/model/address-list.ts";
import type { Family } from "../../../src/model/types.ts";
import { fc } from "../../support/property.ts";

const texts: Readonly<Record<Family, fc.Arbitrary<string>>> = { 4: fc.ipV4(), 6: fc.ipV6() };

test("property: every address comes back, byte for byte and word for word", () => {
  const list = fc.constantFrom<Family>(4, 6).chain((family) => fc.tuple(fc.constant(family), fc.array(texts[family])));
  fc.assert(
    fc.property(list, ([family, given]) => {
      const addresses: number[] = [];
      for (const text of given) appendAddress(addresses, family, addressBytes(text));
      const bytes = new Uint8Array(ADDRESS_BYTES);
      const words = new DataView(bytes.buffer);
      for (const [i, text] of given.entries()) {
        copyAddress({ family, addresses }, i, bytes);
        expect(bytes).toEqual(addressBytes(text));
        for (let word = 0; word < 4; word++)
          expect(addressWord({ family, addresses }, i, word)).toBe(words.getInt32(4 * word));
      }
    }),
  );
});
