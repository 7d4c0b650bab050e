// SPDX-License-Identifier: Apache-2.0
// Netlink's wire form, and addresses in it: what counts and what does not.

import { endianness } from "node:os";
import { expect, test } from "vitest";
import { formatAddress } from "../../../src/model/address.ts";
import { decodeAddress } from "../../../src/node/addresses.ts";
import { attributes, encodeRequest, messages } from "../../../src/node/netlink.ts";

const LITTLE = endianness() === "LE";
const [NEWADDR, DELADDR] = [20, 21];
const [ADDRESS, LOCAL, FLAGS] = [1, 2, 8];
const [TENTATIVE, OPTIMISTIC, DADFAILED, TEMPORARY] = [0x40, 0x04, 0x08, 0x01];

function attribute(type: number, value: readonly number[]): number[] {
  const bytes = new Uint8Array((4 + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, LITTLE);
  view.setUint16(2, type, LITTLE);
  bytes.set(value, 4);
  return [...bytes];
}

const u32 = (value: number): number[] => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, LITTLE);
  return [...bytes];
};

/** An rtnetlink address message on device 7. */
function addressMessage(family: number, attrs: readonly number[][], { type = NEWADDR, flags = 0 } = {}) {
  const payload = Uint8Array.from([family, 24, flags, 0, ...u32(7), ...attrs.flat()]);
  return { type, flags: 0, payload };
}

const v4 = (...address: number[]): number[] => address;
const v6 = (first: number, last: number): number[] => [first, 0xd0, ...Array(13).fill(0), last];

test("messages of a datagram, cut short where it is", () => {
  const first = encodeRequest(22, 0x300, Uint8Array.of(1, 2, 3));
  const second = encodeRequest(23, 0, new Uint8Array(0));
  const datagram = Uint8Array.from([...first, ...second]);
  expect([...messages(datagram)].map(({ type, payload }) => [type, ...payload])).toEqual([[22, 1, 2, 3], [23]]);
  expect([...messages(datagram.subarray(0, datagram.length - 1))].map(({ type }) => type)).toEqual([22]);
  expect([...messages(Uint8Array.of(1, 2))]).toEqual([]);
});

test("a length that lies ends the reading", () => {
  const lying = encodeRequest(22, 0, new Uint8Array(8));
  new DataView(lying.buffer).setUint32(0, 4, LITTLE);
  expect([...messages(lying)]).toEqual([]);
  expect(attributes(Uint8Array.from([2, 0, 1, 0]), 0).size).toBe(0);
  expect(attributes(Uint8Array.from([200, 0, 1, 0, 9]), 0).size).toBe(0);
});

test("attributes by type, nested flag bits off", () => {
  const found = attributes(Uint8Array.from([...attribute(0x8001, [5]), ...attribute(2, [6, 7])]), 0);
  expect([...found].map(([type, value]) => [type, ...value])).toEqual([
    [1, 5],
    [2, 6, 7],
  ]);
});

test("IPv4: the local address of a point-to-point device, not its peer", () => {
  const message = addressMessage(2, [attribute(ADDRESS, v4(10, 0, 0, 2)), attribute(LOCAL, v4(10, 0, 0, 1))]);
  const change = decodeAddress(message);
  expect(change).toMatchObject({ id: "7/10.0.0.1", usable: true });
  expect(formatAddress(change?.bytes ?? new Uint8Array(16))).toBe("10.0.0.1");
});

test("removed", () => {
  const message = addressMessage(2, [attribute(LOCAL, v4(10, 0, 0, 1))], { type: DELADDR });
  expect(decodeAddress(message)).toMatchObject({ id: "7/10.0.0.1", usable: false });
});

test.each([
  ["ready", 0, true],
  ["temporary", TEMPORARY, true],
  ["being checked for duplicates", TENTATIVE, false],
  ["being checked, but usable already", TENTATIVE | OPTIMISTIC, true],
  ["a duplicate", DADFAILED | TENTATIVE, false],
])("IPv6, %s", (_, flags, usable) => {
  const attrs = [attribute(ADDRESS, v6(0xfd, 1)), attribute(FLAGS, u32(flags))];
  expect(decodeAddress(addressMessage(10, attrs))?.usable).toBe(usable);
  expect(decodeAddress(addressMessage(10, attrs.slice(0, 1), { flags }))?.usable).toBe(usable);
});

test.each([
  ["IPv4 loopback", addressMessage(2, [attribute(LOCAL, v4(127, 0, 0, 1))])],
  ["IPv4 link-local", addressMessage(2, [attribute(LOCAL, v4(169, 254, 1, 1))])],
  ["IPv6 loopback", addressMessage(10, [attribute(ADDRESS, [...Array(15).fill(0), 1])])],
  ["IPv6 link-local", addressMessage(10, [attribute(ADDRESS, [0xfe, 0x80, ...Array(13).fill(0), 1])])],
  ["another family", addressMessage(28, [attribute(LOCAL, v4(10, 0, 0, 1))])],
  ["no address", addressMessage(2, [])],
  ["an address of a wrong size", addressMessage(2, [attribute(LOCAL, [1, 2])])],
  ["another message", addressMessage(2, [attribute(LOCAL, v4(10, 0, 0, 1))], { type: 16 })],
])("%s does not count", (_, message) => {
  expect(decodeAddress(message)).toBeNull();
});
