// SPDX-License-Identifier: Apache-2.0
// Addresses against node:net, against a slow reference of its own, and at the edges of the notation.

import { BlockList, isIP } from "node:net";
import { describe, expect, test } from "vitest";
import {
  addressBytes,
  addressKey,
  canonicalAddress,
  cidrContains,
  familyOf,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
  specialAddress,
} from "../../../src/model/address.ts";
import { fc } from "../../support/property.ts";

const RUNS = { numRuns: 2000 };

/** 16 random bytes with the runs of zeros that make IPv6 text interesting, and IPv4's form now and then. */
const bytes16 = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
    .map((groups) => fromGroups(groups)),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((quad) => fromGroups([0, 0, 0, 0, 0, 0xffff, 0, 0], quad)),
);

/** Text over the alphabet of addresses: mostly no address, sometimes one. */
const nearAddress = fc.oneof(
  fc.string({ unit: fc.constantFrom(..."0123456789abfF:.:."), maxLength: 24 }),
  fc.ipV6(),
  fc.ipV4(),
  fc.ipV4Extended(),
  fc.tuple(fc.ipV6(), fc.nat(40), fc.constantFrom("", ":", ".", "0", "g", " ", "%")).map(([text, at, extra]) => {
    return text.slice(0, at) + extra + text.slice(at);
  }),
);

function fromGroups(groups: readonly number[], tail?: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
  if (tail !== undefined) bytes.set(tail, 12);
  return bytes;
}

/** Family of the text by node:net; a zone ("%eth0") is none of ours. */
function referenceFamily(text: string): number {
  return text.includes("%") ? 0 : isIP(text);
}

/** Independent reading of valid IPv6 text: expand "::", then split. */
function referenceIpv6(text: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const hex = (a: string | undefined, b: string | undefined): string => (Number(a) * 256 + Number(b)).toString(16);
  const pure = dotted === null ? text : `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}`;
  const [head = "", tail] = pure.split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  if (tail === undefined) return groups(head);
  const zeros = new Array<number>(8 - groups(head).length - groups(tail).length).fill(0);
  return [...groups(head), ...zeros, ...groups(tail)];
}

test("the same texts are addresses as for node:net, in the same family", () => {
  const out = new Uint8Array(16);
  fc.assert(
    fc.property(nearAddress, (text) => {
      expect(parseAddress(text, out), text).toBe(referenceFamily(text));
    }),
    { numRuns: 20_000 },
  );
});

test("IPv6 text gives the bytes of the reference", () => {
  const mixed = fc.tuple(fc.ipV6(), fc.boolean()).map(([text, upper]) => (upper ? text.toUpperCase() : text));
  fc.assert(
    fc.property(mixed, (text) => {
      expect([...addressBytes(text)]).toEqual([...fromGroups(referenceIpv6(text))]);
    }),
    RUNS,
  );
});

test("IPv4 text gives ::ffff: and its four bytes, wherever it is written", () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(5), (text, offset) => {
      const out = new Uint8Array(24).fill(0xaa);
      expect(parseAddress(text, out, offset)).toBe(4);
      expect([...out.subarray(offset, offset + 16)]).toEqual([
        ...fromGroups([0, 0, 0, 0, 0, 0xffff, 0, 0], Uint8Array.from(text.split(".").map(Number))),
      ]);
      expect([...out.subarray(0, offset), ...out.subarray(offset + 16)]).toEqual(new Array(8).fill(0xaa));
    }),
    RUNS,
  );
});

test("text of bytes reads back as the same bytes and family", () => {
  const out = new Uint8Array(16);
  fc.assert(
    fc.property(bytes16, (bytes) => {
      const text = formatAddress(bytes);
      expect(parseAddress(text, out)).toBe(familyOf(bytes));
      expect(out).toEqual(bytes);
      expect(canonicalAddress(text)).toBe(text);
      if (familyOf(bytes) === 6) expect(text).toBe(new URL(`http://[${text}]`).hostname.slice(1, -1));
    }),
    RUNS,
  );
});

test.each([
  ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["0:0:0:0:0:0:0:0", "::"],
  ["1:0:0:0:0:0:0:0", "1::"],
  ["::1", "::1"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
  ["0001::00ab", "1::ab"],
  ["::FFFF:1.2.3.4", "::ffff:1.2.3.4"],
  ["::ffff:102:304", "::ffff:1.2.3.4"],
  ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
  ["1.2.3.4", "1.2.3.4"],
])("%s is written %s", (text, canonical) => {
  expect(canonicalAddress(text)).toBe(canonical);
});

test.each([
  "",
  " 1.2.3.4",
  "1.2.3.4 ",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.",
  ".1.2.3",
  "1..2.3",
  "01.2.3.4",
  "1.2.3.00",
  "256.1.1.1",
  "1.2.3.4/8",
  "0x1.2.3.4",
  "1.2.3.+4",
  ":",
  ":::",
  "1:",
  ":1",
  "1::2::3",
  "1:::2",
  "12345::",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4::5:6:7:8",
  "::1.2.3",
  "::01.2.3.4",
  "1.2.3.4::",
  "::1.2.3.4:5",
  "1:2:3:4:5:6:7:1.2.3.4",
  "1::2:3:4:5:6:7:1.2.3.4",
  "fe80::1%eth0",
  "[::1]",
  "g::",
  "::1/64",
  "localhost",
])("%j is no address", (text) => {
  expect(canonicalAddress(text)).toBeNull();
  expect(() => addressBytes(text)).toThrow(RangeError);
});

test("v4-mapped text is IPv6 with IPv4's bytes", () => {
  const out = new Uint8Array(16);
  expect(parseAddress("::ffff:10.0.0.1", out)).toBe(6);
  expect(out).toEqual(addressBytes("10.0.0.1"));
  expect(specialAddress(out, 0, 6)).toBe("v4-mapped");
  expect(specialAddress(out, 0, 4)).toBeNull();
  expect([formatAddress(out), formatAddress(out, 0, 6)]).toEqual(["10.0.0.1", "::ffff:10.0.0.1"]);
});

test("keys are equal where the bytes are", () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  fc.assert(
    fc.property(bytes16, fc.oneof(bytes16, fc.constant(null)), (a, other) => {
      const b = other ?? a.slice();
      expect(addressKey(a) === addressKey(b)).toBe(hex(a) === hex(b));
    }),
    RUNS,
  );
});

describe("prefixes", () => {
  const prefix = fc.oneof(
    fc.tuple(fc.ipV4(), fc.nat(32)).map(([address, length]) => ({ address, length, family: "ipv4" as const })),
    fc.tuple(fc.ipV6(), fc.nat(128)).map(([address, length]) => ({ address, length, family: "ipv6" as const })),
  );

  test("contain what node:net's BlockList contains", () => {
    fc.assert(
      fc.property(prefix, fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(127), ({ address, length, family }, other, flip) => {
        const list = new BlockList();
        list.addSubnet(address, length, family);
        const cidr = parseCidr(`${address}/${length}`);
        if (cidr === null) throw new Error("not parsed");
        const near = addressBytes(address);
        const bit = family === "ipv4" ? 96 + (flip % 32) : flip;
        near[bit >> 3] = (near[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
        // Text of either family's own kind only: BlockList looks through v4-mapped addresses, portolan does not.
        for (const candidate of [addressBytes(other), near]) {
          const text = formatAddress(candidate);
          const kind = familyOf(candidate) === 4 ? "ipv4" : "ipv6";
          expect(cidrContains(cidr, candidate), `${text} in ${address}/${length}`).toBe(
            kind === family && list.check(text, kind),
          );
        }
      }),
      RUNS,
    );
  });

  test("are read with host bits cleared and written back", () => {
    const texts = ["10.1.2.3/8", "0.0.0.0/0", "1.2.3.4/32", "FD00::1/8", "::/0", "2001:db8::ffff/127", "::1/128"];
    expect(texts.map((text) => formatCidr(parseCidr(text) ?? neverNull(text)))).toEqual([
      "10.0.0.0/8",
      "0.0.0.0/0",
      "1.2.3.4/32",
      "fd00::/8",
      "::/0",
      "2001:db8::fffe/127",
      "::1/128",
    ]);
  });

  test.each([
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "::/129",
    "::/1280",
    "/8",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "::/ 1",
    "",
  ])("%j is none", (text) => expect(parseCidr(text)).toBeNull());

  test("families do not mix", () => {
    expect(cidrContains(parseCidr("::/0") ?? neverNull("::/0"), addressBytes("10.0.0.1"))).toBe(false);
    expect(cidrContains(parseCidr("0.0.0.0/0") ?? neverNull("0/0"), addressBytes("::1"))).toBe(false);
  });
});

function neverNull(what: string): never {
  throw new Error(`${what} not parsed`);
}

test.each([
  ["0.0.0.0", "unspecified"],
  ["0.255.255.255", "unspecified"],
  ["1.0.0.0", null],
  ["126.255.255.255", null],
  ["127.0.0.0", "loopback"],
  ["127.255.255.255", "loopback"],
  ["128.0.0.0", null],
  ["169.253.255.255", null],
  ["169.254.0.0", "link-local"],
  ["169.254.255.255", "link-local"],
  ["169.255.0.0", null],
  ["223.255.255.255", null],
  ["224.0.0.0", "multicast"],
  ["239.255.255.255", "multicast"],
  ["240.0.0.0", "reserved"],
  ["255.255.255.255", "reserved"],
  ["::", "unspecified"],
  ["::1", "loopback"],
  ["::2", null],
  ["::1:0", null],
  ["1::1", null],
  ["fe7f::1", null],
  ["fe80::", "link-local"],
  ["febf:ffff::", "link-local"],
  ["fec0::", null],
  ["feff::1", null],
  ["ff00::", "multicast"],
  ["ffff::1", "multicast"],
  ["::ffff:10.0.0.1", "v4-mapped"],
  ["fd00::1", null],
] as const)("%s is special as %s", (text, special) => {
  const bytes = new Uint8Array(20);
  const family = parseAddress(text, bytes, 4);
  expect(specialAddress(bytes, 4, family === 0 ? 4 : family)).toBe(special);
});
