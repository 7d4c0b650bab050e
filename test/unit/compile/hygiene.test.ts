// SPDX-License-Identifier: Apache-2.0
// Every address an endpoint must not have is refused: 10,000 generated ones of every kind, and none beside them.

import { BlockList } from "node:net";
import { expect, test } from "vitest";
import { acceptEndpoints, type ServiceNetworks } from "../../../src/compile/hygiene.ts";
import { addressBytes, addressKey, type Cidr, formatAddress, parseCidr } from "../../../src/model/address.ts";
import type { Family, Problem } from "../../../src/model/types.ts";
import { fc } from "../../support/property.ts";
import { slice } from "./objects.ts";

const REFUSED: readonly (readonly [prefix: string, length: number])[] = [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  ["10.96.0.0", 16],
  ["10.112.0.0", 12],
  ["::", 128],
  ["::1", 128],
  ["fe80::", 10],
  ["ff00::", 8],
  ["::ffff:0:0", 96],
  ["fd00:96::", 112],
  ["fd00:112::", 108],
];
const CLUSTER_IPS = new Set(
  [...Array(0x10000).keys()].flatMap((host) => [
    addressKey(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 96, host >> 8, host & 255)),
    addressKey(Uint8Array.of(0xfd, 0, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host >> 8, host & 255)),
  ]),
);
const NETWORKS: ServiceNetworks = {
  isClusterIp: (bytes, offset) => CLUSTER_IPS.has(addressKey(bytes, offset)),
  serviceCidrs: ["10.112.0.0/12", "fd00:112::/108"].map((text) => parseCidr(text) as Cidr),
};

/** A random address of the prefix. */
const inside = fc
  .tuple(fc.constantFrom(...REFUSED), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map(([[prefix, length], random]) => {
    const family: Family = prefix.includes(".") ? 4 : 6;
    const bytes = addressBytes(prefix);
    const bits = family === 4 ? length + 96 : length;
    for (let bit = bits; bit < 128; bit++)
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | ((random[bit >> 3] ?? 0) & (0x80 >> (bit & 7)));
    return { family, text: formatAddress(bytes, 0, family) };
  });

test("10,000 addresses of the refused networks are refused, each for itself", () => {
  let seen = 0;
  fc.assert(
    fc.property(inside, ({ family, text }) => {
      seen++;
      const problems: Problem[] = [];
      const { refused } = acceptEndpoints(slice("s", "web", [text], { family }), NETWORKS, problems);
      expect([refused?.has(0), problems.length, problems[0]?.reason.startsWith(`${text} is `)], text).toEqual([
        true,
        1,
        true,
      ]);
    }),
    { numRuns: 10_000 },
  );
  expect(seen).toBe(10_000);
});

test("no other address is", () => {
  // A list a family: BlockList looks through v4-mapped prefixes.
  const lists = { 4: new BlockList(), 6: new BlockList() };
  for (const [prefix, length] of REFUSED) {
    if (prefix.includes(".")) lists[4].addSubnet(prefix, length, "ipv4");
    else if (!prefix.startsWith("::ffff:")) lists[6].addSubnet(prefix, length, "ipv6");
  }
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6().map((text) => formatAddress(addressBytes(text), 0, 6)),
  );
  fc.assert(
    fc.property(address, (text) => {
      const family = text.includes(":") ? 6 : 4;
      const mapped = text.startsWith("::ffff:") && text.includes(".");
      const { refused } = acceptEndpoints(slice("s", "web", [text], { family }), NETWORKS, []);
      expect(refused !== null, text).toBe(mapped || lists[family].check(text, family === 4 ? "ipv4" : "ipv6"));
    }),
    { numRuns: 5000 },
  );
});

test("many refused endpoints of one slice are counted, not listed", () => {
  const problems: Problem[] = [];
  const addresses = [...Array(1000).keys()].map((i) => `127.0.${i >> 8}.${i & 255}`);
  const { refused } = acceptEndpoints(slice("s", "web", [...addresses, "10.0.0.1"]), NETWORKS, problems);
  expect([refused?.size, refused?.has(1000), problems.length]).toEqual([1000, false, 17]);
  expect(problems.at(-1)).toEqual({
    kind: "EndpointSlice",
    key: "default/s",
    field: "endpoints",
    reason: "984 more endpoints are refused",
    event: "EndpointRefused",
  });
});
