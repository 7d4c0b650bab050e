// SPDX-License-Identifier: Apache-2.0
// Whom new facts of the node concern: nobody who does not depend on them.

import { expect, test } from "vitest";
import { Compiler } from "../../../src/compile/compile.ts";
import type { CompileOptions } from "../../../src/compile/frontends.ts";
import { type Cidr, parseCidr } from "../../../src/model/address.ts";
import { Store } from "../../../src/model/store.ts";
import type { Service } from "../../../src/model/types.ts";
import { facts, options, service, slice } from "./objects.ts";

const FACTS = facts();
const OPTIONS = options();
const cidrs = (texts: readonly string[]): Cidr[] => texts.map((text) => parseCidr(text) as Cidr);
const CONFINED = options({ externalIpsAllowed: cidrs(["0.0.0.0/0"]) });

function compiled(given: CompileOptions = OPTIONS): Compiler {
  const store = new Store();
  store.synced("services");
  store.synced("endpointslices");
  const put = (name: string, ip: string, change: Partial<Service> = {}): void => {
    store.service(`default/${name}`, service(name, { clusterIps: [ip], ...change }), 1n);
  };
  put("plain", "10.96.0.1");
  put("hinted", "10.96.0.2");
  put("by-node", "10.96.0.3");
  put("ranged", "10.96.0.4", { sourceRanges: ["10.0.0.0/8"] });
  put("outside", "10.96.0.5", { externalIps: ["198.51.100.1"] });
  const hints = { zoneHints: [["east"]], nodeHints: null };
  store.endpointSlice("default/h", slice("h", "hinted", ["10.244.0.1"], hints), 1n);
  store.endpointSlice("default/n", slice("n", "by-node", ["10.244.0.2"], { nodeHints: [["node-a"]] }), 1n);
  const compiler = new Compiler(FACTS, given);
  compiler.update(store, store.takeDirty().keys());
  return compiler;
}

test.each<[string, CompileOptions, (compiler: Compiler) => Iterable<string>, readonly string[]]>([
  ["its zone: Services with zone hints", OPTIONS, (c) => c.setFacts(facts({ zone: "east" })), ["hinted"]],
  [
    "its address: Services with source ranges",
    OPTIONS,
    (c) => c.setFacts(facts({ primaryAddresses: ["192.0.2.1"] })),
    ["ranged"],
  ],
  ["its pods: likewise", OPTIONS, (c) => c.setFacts(facts({ podCidrs: ["10.244.0.0/24"] })), ["ranged"]],
  [
    "its pods, behind an allow-list: external ones too",
    CONFINED,
    (c) => c.setFacts(facts({ podCidrs: ["10.244.0.0/24"] })),
    ["outside", "ranged"],
  ],
  ["no change: nobody", CONFINED, (c) => c.setFacts(facts()), []],
  [
    "a device's address: its owner",
    OPTIONS,
    (c) => c.setDeviceAddresses(new Set(["10.96.0.3", "192.0.2.1"])),
    ["by-node"],
  ],
  [
    "a device's address, behind an allow-list: external ones too",
    CONFINED,
    (c) => c.setDeviceAddresses(new Set(["192.0.2.1"])),
    ["outside"],
  ],
  ["the ServiceCIDRs they had: nobody", OPTIONS, (c) => c.setServiceCidrs([]), []],
])("%s", (_, given, change, names) => {
  expect([...change(compiled(given))].sort()).toEqual(names.map((name) => `default/${name}`));
});

test("new ServiceCIDRs concern everybody", () => {
  expect(compiled().setServiceCidrs(cidrs(["10.96.0.0/16"]))).toBe("all");
});
