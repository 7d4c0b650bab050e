// SPDX-License-Identifier: Apache-2.0
// Small Services and EndpointSlices for tests: everything has a plain default.

import type { CompileOptions } from "../../../src/compile/frontends.ts";
import { addressBytes, familyOfText } from "../../../src/model/address.ts";
import { appendAddress } from "../../../src/model/address-list.ts";
import { CONDITION, type EndpointSlice, type NodeFacts, PROTOCOL, type Service } from "../../../src/model/types.ts";

/** node-a, of which nothing more is known. */
export function facts(change: Partial<NodeFacts> = {}): NodeFacts {
  return { nodeName: "node-a", zone: "", primaryAddresses: [], podCidrs: [], ...change };
}

/** What kube-proxy's defaults are. */
export function options(change: Partial<CompileOptions> = {}): CompileOptions {
  return {
    allowServiceExternalIps: true,
    externalIpsAllowed: null,
    deviceAddresses: new Set(),
    clusterCidrs: [],
    serviceCidrs: [],
    mostFrontends: 1_000_000,
    ...change,
  };
}

/** One TCP port "http" 80 at 10.96.0.1, created at 0. */
export function service(name: string, change: Partial<Service> = {}): Service {
  return {
    namespace: "default",
    name,
    uid: "",
    createdMs: 0,
    type: "ClusterIP",
    clusterIps: ["10.96.0.1"],
    externalIps: [],
    loadBalancerIps: [],
    ports: [{ name: "http", protocol: PROTOCOL.TCP, port: 80, nodePort: 0 }],
    internalLocal: false,
    externalLocal: false,
    affinitySec: 0,
    sourceRanges: [],
    healthCheckNodePort: 0,
    ...change,
  };
}

/** Port "http" 8080; every endpoint ready on node-b. The family is the first address'. */
export function slice(
  name: string,
  serviceName: string,
  addresses: readonly string[],
  change: Partial<EndpointSlice> = {},
): EndpointSlice {
  const family = familyOfText(addresses[0] ?? "");
  const words: number[] = [];
  for (const address of addresses) appendAddress(words, family, addressBytes(address));
  return {
    namespace: "default",
    name,
    serviceName,
    family,
    ports: [{ name: "http", protocol: PROTOCOL.TCP, port: 8080 }],
    count: addresses.length,
    addresses: words,
    conditions: new Uint8Array(addresses.length).fill(CONDITION.READY | CONDITION.SERVING),
    nodeNames: addresses.map(() => "node-b"),
    zoneHints: null,
    nodeHints: null,
    triggerMs: 0,
    ...change,
  };
}
