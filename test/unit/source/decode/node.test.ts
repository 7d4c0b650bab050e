// SPDX-License-Identifier: Apache-2.0
// What is taken of a Node and of a ServiceCIDR, and what the facts of a node are made of.

import { describe, expect, test } from "vitest";
import { nodeFacts } from "../../../../src/model/node.ts";
import type { Node } from "../../../../src/model/types.ts";
import { decodeNode, decodeServiceCidr } from "../../../../src/source/decode/decode.ts";
import { mutated, objectEdits } from "../../../support/mutation.ts";
import { fc } from "../../../support/property.ts";

const NODE = {
  apiVersion: "v1",
  kind: "Node",
  metadata: {
    name: "node-a",
    uid: "u-1",
    labels: { "topology.kubernetes.io/zone": "east", "kubernetes.io/hostname": "node-a" },
  },
  spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24", "FD00:10:244:1::/64"], taints: [{ key: "other" }] },
  status: {
    addresses: [
      { type: "Hostname", address: "node-a" },
      { type: "ExternalIP", address: "203.0.113.9" },
      { type: "InternalIP", address: "192.0.2.9" },
      { type: "InternalIP", address: "FD00::9" },
    ],
  },
};

test("a Node", () => {
  expect(decodeNode(NODE)).toEqual({
    key: "node-a",
    problems: [],
    object: {
      name: "node-a",
      uid: "u-1",
      zone: "east",
      internalIps: ["192.0.2.9", "fd00::9"],
      externalIps: ["203.0.113.9"],
      podCidrs: ["10.244.1.0/24", "fd00:10:244:1::/64"],
      deleting: false,
      excluded: false,
    } satisfies Node,
  });
});

test("the least of a Node, one that goes, one that the autoscaler takes away", () => {
  expect(decodeNode({ metadata: { name: "n" } }).object).toMatchObject({ zone: "", internalIps: [], podCidrs: [] });
  const going = decodeNode({ metadata: { name: "n", deletionTimestamp: "2026-01-02T03:04:05Z" } }).object;
  expect(going?.deleting).toBe(true);
  const taints = [{ key: "ToBeDeletedByClusterAutoscaler", effect: "PreferNoSchedule" }];
  expect(decodeNode({ metadata: { name: "n" }, spec: { taints } }).object?.excluded).toBe(true);
});

test("podCIDR counts where podCIDRs is not", () => {
  const podCidrs = (spec: object) => decodeNode({ metadata: { name: "n" }, spec }).object?.podCidrs;
  expect(podCidrs({ podCIDR: "10.244.1.0/24" })).toEqual(["10.244.1.0/24"]);
  expect(podCidrs({ podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.2.0/24"] })).toEqual(["10.244.2.0/24"]);
});

test("what is wrong in a Node is named and left out", () => {
  const { object, problems } = decodeNode({
    metadata: { name: "n" },
    spec: { podCIDRs: ["10.244.1.0", "10.244.2.0/24"] },
    status: {
      addresses: [
        { type: "InternalIP", address: "node" },
        { type: "InternalIP", address: "192.0.2.1" },
      ],
    },
  });
  expect(object).toMatchObject({ internalIps: ["192.0.2.1"], podCidrs: ["10.244.2.0/24"] });
  expect(problems.map(({ kind, key, field, reason }) => `${kind} ${key} ${field} ${reason}`)).toEqual([
    'Node n status.addresses[0].address must be an IP address, not "node"',
    'Node n spec.podCIDRs[0] must be a CIDR, not "10.244.1.0"',
  ]);
});

test("a ServiceCIDR", () => {
  const cidr = (cidrs: unknown) => decodeServiceCidr({ metadata: { name: "kubernetes" }, spec: { cidrs } });
  expect(cidr(["10.96.0.1/16", "FD00:96::/112"])).toEqual({
    key: "kubernetes",
    object: ["10.96.0.0/16", "fd00:96::/112"],
    problems: [],
  });
  expect(cidr(["10.96.0.0/16", "all"]).object).toEqual(["10.96.0.0/16"]);
  expect(cidr("10.96.0.0/16").problems[0]?.field).toBe("spec.cidrs");
});

test("no mutation of either throws", () => {
  fc.assert(
    fc.property(objectEdits, (edits) => {
      decodeNode(mutated(NODE, edits));
      decodeServiceCidr(mutated({ metadata: { name: "k" }, spec: { cidrs: ["10.96.0.0/16"] } }, edits));
    }),
    { numRuns: 5_000 },
  );
});

describe("the node's own addresses", () => {
  const node = (internalIps: string[], externalIps: string[] = []): Node => ({
    name: "n",
    uid: "",
    zone: "east",
    internalIps,
    externalIps,
    podCidrs: ["10.244.1.0/24"],
    deleting: false,
    excluded: false,
  });
  test.each<[string, Node | null, string, readonly string[]]>([
    ["the first InternalIP", node(["192.0.2.1", "192.0.2.2"], ["203.0.113.1"]), "0.0.0.0", ["192.0.2.1"]],
    [
      "and the first of the other family",
      node(["192.0.2.1", "fd00::1", "fd00::2"]),
      "0.0.0.0",
      ["192.0.2.1", "fd00::1"],
    ],
    ["the first family is the first's", node(["fd00::1", "192.0.2.1"]), "::", ["fd00::1", "192.0.2.1"]],
    ["an ExternalIP for lack of another", node([], ["203.0.113.1"]), "0.0.0.0", ["203.0.113.1"]],
    [
      "an ExternalIP for the other family",
      node(["192.0.2.1"], ["203.0.113.1", "fd00::1"]),
      "0.0.0.0",
      ["192.0.2.1", "fd00::1"],
    ],
    ["none of a Node without", node([]), "0.0.0.0", []],
    ["none without a Node", null, "0.0.0.0", []],
    ["bindAddress before the Node's", node(["192.0.2.1", "fd00::1"]), "192.0.2.7", ["192.0.2.7", "fd00::1"]],
    ["bindAddress alone", null, "fd00::7", ["fd00::7"]],
  ])("%s", (_, object, bindAddress, addresses) => {
    expect(nodeFacts({ nodeName: "n", bindAddress }, object)).toEqual({
      nodeName: "n",
      zone: object?.zone ?? "",
      podCidrs: object?.podCidrs ?? [],
      primaryAddresses: addresses,
    });
  });
});
