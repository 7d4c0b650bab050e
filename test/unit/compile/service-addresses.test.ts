// SPDX-License-Identifier: Apache-2.0
// ClusterIPs and the Services with an endpoint at one, against plain lists, under random histories.

import { expect, test } from "vitest";
import { type MovedAddresses, ServiceAddresses } from "../../../src/compile/service-addresses.ts";
import { ADDRESS_BYTES, addressBytes, formatAddress } from "../../../src/model/address.ts";
import { copyAddress } from "../../../src/model/address-list.ts";
import type { EndpointSlice } from "../../../src/model/types.ts";
import { fc } from "../../support/property.ts";
import { slice } from "./objects.ts";

/** Two of one IPv4 /16 and one of another; the same in IPv6. */
const ADDRESSES = ["10.1.0.1", "10.1.255.1", "10.2.0.1", "fd00::1", "fd00:0:0:1::1", "fd01::1"];
const KEYS = ["default/a", "default/b", "default/c"];

const change = fc.record({
  key: fc.constantFrom(...KEYS),
  what: fc.constantFrom("ips", "endpoints"),
  addresses: fc.subarray(ADDRESSES),
});

function firstAddress(item: EndpointSlice): string {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  copyAddress(item, 0, bytes);
  return formatAddress(bytes);
}

test("owners, ClusterIPs and affected Services are those of the lists", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (history) => {
      const index = new ServiceAddresses();
      const ips = new Map<string, readonly string[]>();
      const endpoints = new Map<string, readonly EndpointSlice[]>();
      for (const { key, what, addresses } of history) {
        if (what === "endpoints") {
          const slices = addresses.map((address, i) => slice(`s-${i}`, "x", [address]));
          endpoints.set(key, slices);
          index.setEndpoints(key, slices);
          continue;
        }
        const before = new Set([...ips.values()].flat());
        ips.set(key, addresses);
        const after = new Set([...ips.values()].flat());
        const affected = new Set<string>();
        const moved: MovedAddresses = new Map();
        index.setClusterIps(key, addresses, moved);
        index.addServicesWith(moved, (other) => endpoints.get(other) ?? [], affected);
        const changed = ADDRESSES.filter((address) => before.has(address) !== after.has(address));
        const concerned = KEYS.filter((other) =>
          endpoints.get(other)?.some((item) => changed.includes(firstAddress(item))),
        );
        expect([...affected].sort()).toEqual(concerned);
        for (const address of ADDRESSES) {
          expect(index.isClusterIp(addressBytes(address), 0)).toBe(after.has(address));
          expect([...index.ownersOf(address)].sort()).toEqual(
            KEYS.filter((other) => ips.get(other)?.includes(address)),
          );
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("only the slices of Services in the address' network are looked at", () => {
  const index = new ServiceAddresses();
  for (let i = 0; i < 100; i++) index.setEndpoints(`default/s-${i}`, [slice("s", "x", [`10.${i}.0.1`])]);
  const asked: string[] = [];
  const slicesOf = (key: string): readonly EndpointSlice[] => {
    asked.push(key);
    return [];
  };
  index.setEndpoints("default/s-8", [slice("s", "x", ["10.108.0.1"])]);
  index.setEndpoints("default/s-9", []);
  const moved: MovedAddresses = new Map();
  index.setClusterIps("default/new", ["10.200.0.1", "10.8.0.1", "10.9.0.1"], moved);
  index.setClusterIps("default/other", ["10.7.3.3"], moved);
  index.addServicesWith(moved, slicesOf, new Set());
  expect(asked).toEqual(["default/s-7"]);
});

test("and once, however many ClusterIPs come into a network of pods", () => {
  const index = new ServiceAddresses();
  for (let i = 0; i < 100; i++) index.setEndpoints(`default/s-${i}`, [slice("s", "x", [`2001:db8:42::${i}`])]);
  let asked = 0;
  const slicesOf = (): readonly EndpointSlice[] => {
    asked++;
    return [];
  };
  const moved: MovedAddresses = new Map();
  for (let i = 0; i < 100; i++) index.setClusterIps(`default/s-${i}`, [`2001:db8:42:1::${i}`], moved);
  index.addServicesWith(moved, slicesOf, new Set());
  expect(asked).toBe(100);
});

test("what is no address has no owner", () => {
  expect(new ServiceAddresses().ownersOf("fe80::1%eth0")).toEqual([]);
});
