// SPDX-License-Identifier: Apache-2.0
// loadBalancerSourceRanges for callers on this node: the table of cases, and random ones against plain arithmetic.

import { describe, expect, test } from "vitest";
import { unitRanges } from "../../../src/compile/source-ranges.ts";
import { parseCidr } from "../../../src/model/address.ts";
import { fc } from "../../support/property.ts";
import { service } from "./objects.ts";

interface Case {
  readonly ranges: readonly string[];
  readonly vips?: readonly string[];
  readonly primary?: readonly string[];
  readonly podCidrs?: readonly string[];
  readonly clusterCidrs?: readonly string[];
}

function rangesOf({ ranges, vips = [], primary = [], podCidrs = [], clusterCidrs = [] }: Case, family: 4 | 6 = 4) {
  return unitRanges(service("web", { sourceRanges: ranges, loadBalancerIps: vips }), family, {
    facts: { primaryAddresses: primary, podCidrs },
    clusterCidrs: clusterCidrs.map((text) => {
      const cidr = parseCidr(text);
      if (cidr === null) throw new Error(text);
      return cidr;
    }),
  });
}

describe("open to all", () => {
  test.each([
    ["no ranges", []],
    ["ranges of the other family only", ["fd00::/8"]],
    ["everything among them", ["10.0.0.0/8", "0.0.0.0/0"]],
  ])("%s", (_, ranges) => {
    expect(rangesOf({ ranges })).toBeNull();
  });

  test("IPv6 likewise, each family by itself", () => {
    const ranges = ["10.0.0.0/8", "::/0"];
    expect(rangesOf({ ranges }, 6)).toBeNull();
    expect(rangesOf({ ranges }, 4)).toEqual({ allowHost: false, allowPods: false, prefixes: ["10.0.0.0/8"] });
  });
});

describe("processes of the host", () => {
  const ranges = ["192.0.2.0/24", "fd01::/64"];

  test.each([
    ["the node's address is in a range", ["192.0.2.7"], 4, true],
    ["it is in none", ["198.51.100.7"], 4, false],
    ["it is not known", [], 4, false],
    ["only that of the other family is in one", ["198.51.100.7", "fd01::7"], 4, false],
    ["that of the second family is in one", ["198.51.100.7", "fd01::7"], 6, true],
  ] as const)("%s", (_, primary, family, allowed) => {
    expect(rangesOf({ ranges, primary }, family)?.allowHost).toBe(allowed);
  });

  test("where the node is allowed, so are the Service's own addresses, as sources", () => {
    const vips = ["203.0.113.9", "203.0.113.8", "fd02::1"];
    const allowed = { ranges, vips, primary: ["192.0.2.7", "fd01::7"] };
    expect(rangesOf(allowed)?.prefixes).toEqual(["192.0.2.0/24", "203.0.113.8/32", "203.0.113.9/32"]);
    expect(rangesOf(allowed, 6)?.prefixes).toEqual(["fd01::/64", "fd02::1/128"]);
    expect(rangesOf({ ...allowed, primary: [] })?.prefixes).toEqual(["192.0.2.0/24"]);
  });
});

describe("pods", () => {
  test.each([
    ["one range holds the node's pods", ["10.0.0.0/8"], ["10.244.1.0/24"], true],
    ["exactly", ["10.244.1.0/24"], ["10.244.1.0/24"], true],
    ["two ranges together do", ["10.244.1.0/25", "10.244.1.128/25"], ["10.244.1.0/24"], true],
    ["overlapping ones do", ["10.244.0.0/23", "10.244.1.0/24", "10.244.1.64/26"], ["10.244.0.0/23"], true],
    ["all but one address", ["10.244.1.0/25", "10.244.1.128/26", "10.244.1.192/27"], ["10.244.1.0/24"], false],
    ["one of two pod networks", ["10.244.1.0/24"], ["10.244.1.0/24", "10.245.1.0/24"], false],
    ["none is known", ["10.0.0.0/8"], [], false],
    ["only one of the other family is known", ["10.0.0.0/8"], ["fd44::/64"], false],
  ])("%s", (_, ranges, podCidrs, allowed) => {
    expect(rangesOf({ ranges, podCidrs })?.allowPods).toBe(allowed);
  });

  test("the configured networks come before the Node's, family by family", () => {
    const given = {
      ranges: ["10.244.0.0/16", "fd44::/64"],
      clusterCidrs: ["10.0.0.0/8"],
      podCidrs: ["10.244.1.0/24", "fd44::/80"],
    };
    expect(rangesOf(given)?.allowPods).toBe(false);
    expect(rangesOf(given, 6)?.allowPods).toBe(true);
  });
});

test("prefixes are sorted and named once", () => {
  const ranges = ["10.2.0.0/16", "10.1.0.0/16", "10.2.0.0/16"];
  expect(rangesOf({ ranges })?.prefixes).toEqual(["10.1.0.0/16", "10.2.0.0/16"]);
});

test("IPv6 in IPv4's form closes the family, and admits nobody", () => {
  expect(rangesOf({ ranges: ["::ffff:10.0.0.0/104"] }, 6)).toEqual({
    allowHost: false,
    allowPods: false,
    prefixes: [],
  });
});

describe("1,000 random cases against arithmetic", () => {
  interface Block {
    readonly first: number;
    readonly bits: number;
  }
  const SPACE_BITS = 7;
  /** A prefix in 10.0.0.0/25 (or fd00::/121), small enough to count its addresses. */
  const block = fc
    .record({ bits: fc.integer({ min: 0, max: SPACE_BITS }), at: fc.nat(2 ** SPACE_BITS - 1) })
    .map(({ bits, at }): Block => ({ bits, first: at - (at % 2 ** (SPACE_BITS - bits)) }));
  const text = (family: 4 | 6, { first, bits }: Block): string =>
    family === 4 ? `10.0.0.${first}/${25 + bits}` : `fd00::${first.toString(16)}/${121 + bits}`;
  const address = (family: 4 | 6, at: number): string => (family === 4 ? `10.0.0.${at}` : `fd00::${at.toString(16)}`);
  const isIn = (at: number, { first, bits }: Block): boolean => at >= first && at < first + 2 ** (SPACE_BITS - bits);

  test.each([4, 6] as const)("IPv%i", (family) => {
    const blocks = fc.array(block, { minLength: 1, maxLength: 12 });
    const pods = fc.array(block, { minLength: 1, maxLength: 3 });
    let covered = 0;
    fc.assert(
      fc.property(blocks, pods, fc.nat(2 ** SPACE_BITS - 1), (ranges, podBlocks, primary) => {
        const found = rangesOf(
          {
            ranges: ranges.map((range) => text(family, range)),
            podCidrs: podBlocks.map((pod) => text(family, pod)),
            primary: [address(family, primary)],
          },
          family,
        );
        const admitted = (at: number): boolean => ranges.some((range) => isIn(at, range));
        const all = Array.from({ length: 2 ** SPACE_BITS }, (_, at) => at);
        const allPods = all.every((at) => !podBlocks.some((pod) => isIn(at, pod)) || admitted(at));
        if (allPods) covered++;
        expect(found?.allowHost).toBe(admitted(primary));
        expect(found?.allowPods).toBe(allPods);
      }),
      { numRuns: 1000 },
    );
    expect(covered).toBeGreaterThan(100);
    expect(covered).toBeLessThan(900);
  });
});
