// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { familyProblem, servedFamilies } from "../../../../src/agent/own-node/families.ts";
import type { NodeFacts } from "../../../../src/model/types.ts";

test("IPv6 is served where the kernel has it and it is not switched off", () => {
  const root = mkdtempSync(join(tmpdir(), "portolan-families-"));
  try {
    expect(servedFamilies(root)).toEqual([4]);
    mkdirSync(join(root, "net"));
    writeFileSync(join(root, "net/if_inet6"), "");
    expect(servedFamilies(root)).toEqual([4, 6]);
    mkdirSync(join(root, "sys/net/ipv6/conf/all"), { recursive: true });
    const off = join(root, "sys/net/ipv6/conf/all/disable_ipv6");
    writeFileSync(off, "0\n");
    expect(servedFamilies(root)).toEqual([4, 6]);
    writeFileSync(off, "1\n");
    expect(servedFamilies(root)).toEqual([4]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

const facts = (address: string, ...podCidrs: string[]): NodeFacts => ({
  nodeName: "a",
  zone: "",
  primaryAddresses: address === "" ? [] : [address],
  podCidrs,
});
const cluster = (...clusterCidrs: string[]) => ({ detectLocalMode: "ClusterCIDR" as const, clusterCidrs });
const nodeCidr = { detectLocalMode: "NodeCIDR" as const, clusterCidrs: [] };

test("networks of the other family alone: no start where that is kube-proxy's way", () => {
  const both = [4, 6] as const;
  expect(familyProblem(cluster("fd00::/8"), facts("10.0.0.1"), [4])).toMatch(/^clusterCIDR fd00::\/8 has no network/);
  expect(familyProblem(cluster("fd00::/8"), facts("10.0.0.1"), both)).toBe(null);
  expect(familyProblem(cluster("fd00::/8", "10.0.0.0/8"), facts("10.0.0.1"), [4])).toBe(null);
  expect(familyProblem(cluster(), facts(""), [4])).toBe(null);
  expect(familyProblem(nodeCidr, facts("10.0.0.1", "fd00::/64"), both)).toMatch(/^podCIDRs fd00::\/64/);
  expect(familyProblem(nodeCidr, facts("fd00::1", "fd00::/64"), both)).toBe(null);
  expect(familyProblem({ ...nodeCidr, clusterCidrs: ["fd00::/8"] }, facts("10.0.0.1", "10.0.0.0/24"), [4])).toBe(null);
  expect(familyProblem(cluster(), facts("fd00::1"), [4])).toMatch(/its kernel has no IPv6$/);
});
