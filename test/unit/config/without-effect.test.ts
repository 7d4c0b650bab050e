// SPDX-License-Identifier: Apache-2.0
// Settings without effect are told only where somebody asked for them.

import { expect, test } from "vitest";
import { configFrom, parseConfig } from "../../../src/config/config.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { withoutEffect } from "../../../src/config/without-effect.ts";
import { KUBEADM } from "./kube-proxy/cases.ts";

const told = (input: ConfigInput): string[] => withoutEffect(configFrom("test", input));

test("defaults, kubeadm's file and the modes of kube-proxy ask for nothing", async () => {
  expect(told({})).toEqual([]);
  expect(withoutEffect((await parseConfig("f", KUBEADM)).config)).toEqual([]);
  for (const mode of ["iptables", "ipvs", "nftables"] as const) expect(told({ mode })).toEqual([]);
  expect(told({ detectLocalMode: "NodeCIDR", minSyncPeriodSec: 0 })).toEqual([]);
});

test.each<[string, ConfigInput]>([
  ["masqueradeAll", { masqueradeAll: true }],
  ["detectLocalMode", { detectLocalMode: "BridgeInterface", detectLocal: { bridgeInterface: "br0" } }],
  ["detectLocalMode", { detectLocalMode: "InterfaceNamePrefix", detectLocal: { interfaceNamePrefix: "veth" } }],
  ["minSyncPeriodSec", { minSyncPeriodSec: 10 }],
  ["configSyncPeriodSec", { configSyncPeriodSec: 60 }],
])("%s", (field, input) => {
  expect(told(input)).toEqual([expect.stringMatching(new RegExp(`^${field} has no effect: `))]);
});
