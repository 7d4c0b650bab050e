// SPDX-License-Identifier: Apache-2.0
// Who is local: what a load balancer's health check counts, and which ServicePorts drop here.

import { expect, test } from "vitest";
import { countLocalReady, countNoLocal } from "../../../src/compile/local-endpoints.ts";
import { ENDPOINT, ENDPOINT_STRIDE, type Unit } from "../../../src/compile/unit.ts";
import { addressBytes } from "../../../src/model/address.ts";
import { appendAddress } from "../../../src/model/address-list.ts";
import { CONDITION, type EndpointSlice, type Family } from "../../../src/model/types.ts";

type Endpoint = readonly [address: string, node: string | null, conditions: number];

const READY = CONDITION.READY | CONDITION.SERVING;
const GOING = CONDITION.SERVING | CONDITION.TERMINATING;

function slice(name: string, family: Family, endpoints: readonly Endpoint[]): EndpointSlice {
  const addresses: number[] = [];
  for (const [address] of endpoints) appendAddress(addresses, family, addressBytes(address));
  return {
    namespace: "ns",
    name,
    serviceName: "s",
    family,
    ports: [{ name: "", protocol: 6, port: 8080 }],
    count: endpoints.length,
    addresses,
    conditions: Uint8Array.from(endpoints, ([, , conditions]) => conditions),
    nodeNames: endpoints.map(([, node]) => node),
    zoneHints: null,
    nodeHints: null,
    triggerMs: 0,
  };
}

test("counted: ready endpoints on this node of the family, an address once in however many slices and ports", () => {
  const slices = [
    slice("a", 4, [
      ["10.0.0.1", "n", READY],
      ["10.0.0.2", "n", GOING],
      ["10.0.0.3", "other", READY],
      ["10.0.0.4", null, READY],
      ["10.0.0.5", "n", CONDITION.SERVING],
    ]),
    slice("b", 4, [
      ["10.0.0.1", "n", READY],
      ["10.0.0.6", "n", READY],
    ]),
    slice("c", 6, [["fd00::1", "n", READY]]),
  ];
  expect(countLocalReady(slices, 4, "n")).toBe(2);
  expect(countLocalReady(slices, 6, "n")).toBe(1);
  expect(countLocalReady(slices, 4, "third")).toBe(0);
  expect(countLocalReady([], 4, "n")).toBe(0);
});

interface Shape {
  readonly family?: Family;
  readonly emptyLocal?: Unit["emptyLocal"];
  readonly policy?: { readonly internalLocal: boolean; readonly externalLocal: boolean };
  readonly flags?: readonly number[];
}

function unit({ family = 4, emptyLocal = "drop", policy, flags = [ENDPOINT.CLUSTER] }: Shape): Unit {
  const endpoints = new Uint8Array(flags.length * ENDPOINT_STRIDE);
  for (const [i, flag] of flags.entries()) endpoints[i * ENDPOINT_STRIDE + 18] = flag;
  const frontend = {
    role: "clusterIP",
    address: "10.96.0.1",
    port: 80,
    internalLocal: false,
    externalLocal: false,
    ...policy,
  };
  return { family, emptyLocal, endpoints, frontends: [frontend] } as unknown as Unit;
}

test("without a local endpoint: by policy and family, only where there are endpoints elsewhere", () => {
  const internal = { internalLocal: true, externalLocal: false };
  const external = { internalLocal: false, externalLocal: true };
  const units = [
    unit({ policy: internal }),
    unit({ policy: external }),
    unit({ policy: { internalLocal: true, externalLocal: true } }),
    unit({ policy: external, family: 6 }),
    unit({ policy: external, flags: [ENDPOINT.CLUSTER, ENDPOINT.LOCAL | ENDPOINT.CLUSTER] }),
    unit({ policy: external, emptyLocal: "reject" }),
    unit({}),
  ];
  expect([...countNoLocal(units)]).toEqual([
    [4, { internal: 2, external: 2 }],
    [6, { internal: 0, external: 1 }],
  ]);
});
