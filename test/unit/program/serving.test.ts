// SPDX-License-Identifier: Apache-2.0
// Whose flows have to move: which changes say so, and which flows of a unit are stranded.

import { beforeEach, describe, expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import type { Flow } from "../../../src/datapath/flows.ts";
import { addressBytes, formatAddress } from "../../../src/model/address.ts";
import type { Protocol } from "../../../src/model/types.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { isStranded, type ServingChange, StrandedFlows } from "../../../src/program/serving.ts";
import { options } from "../../support/fresh-maps.ts";
import { emptyMemory, MemoryMaps } from "../../support/memory-maps.ts";
import { frontend, makeUnit, type UnitText } from "../../support/units.ts";

const [A, B, C] = ["10.1.0.1:5353", "10.1.0.2:5353", "10.1.0.3:5353"] as const;
const DNS = "kube-system/kube-dns:dns";

let memory: MemoryMaps;
let programmer: Programmer;
let heard: ServingChange[];

beforeEach(async () => {
  memory = new MemoryMaps(emptyMemory());
  heard = [];
  programmer = await Programmer.start(memory, { ...options, onServing: (changes) => heard.push(...changes) });
  programmer.allowDeletes();
});

const dns = (endpoints: readonly string[], more: Partial<UnitText> = {}): Unit =>
  makeUnit({ name: DNS, clusterIp: "10.96.0.10", port: 53, protocol: 17, endpoints, ...more });

/** The same with internalTrafficPolicy Local. */
const local = (...endpoints: readonly string[]): Unit =>
  makeUnit({ name: DNS, protocol: 17, endpoints, frontends: [frontend("clusterIP", "10.96.0.10", 53, true)] });

/** What an apply() of these units tells: "UNIT: endpoints that ceased to serve". */
function tells(...units: readonly Unit[]): string[] {
  heard = [];
  programmer.apply({ upserted: units, removed: [] });
  return heard.map(({ unit, lostIds }) => {
    const lost = lostIds.map((id) => formatAddress(memory.backend(id).address));
    return `${unit.name}: ${lost.join(" ")}`.trim();
  });
}

describe("a change tells of it", () => {
  test("when an endpoint is removed, or serves no more", () => {
    programmer.apply({ upserted: [dns([A, B, C])], removed: [] });
    expect(tells(dns([A, B]))).toEqual([`${DNS}: 10.1.0.3`]);
    expect(tells(dns([A, `${B}/c`]))).toEqual([`${DNS}: 10.1.0.2`]);
    expect(tells(dns([]))).toEqual([`${DNS}: 10.1.0.1 10.1.0.2`]);
  });

  test("when the first one serves: of a new unit, or again", () => {
    expect(tells(dns([]))).toEqual([]);
    expect(tells(dns([`${A}/c`]))).toEqual([]);
    expect(tells(dns([A]))).toEqual([`${DNS}:`]);
    expect(tells(makeUnit({ name: "default/log", clusterIp: "10.96.0.11", protocol: 17, endpoints: [A] }))).toEqual([
      "default/log:",
    ]);
  });

  test("and not when one is added, leaves a set, or begins to terminate while it serves", () => {
    programmer.apply({ upserted: [dns([A])], removed: [] });
    expect(tells(dns([A, B]))).toEqual([]);
    expect(tells(dns([`${A}/s`, B]))).toEqual([]);
    expect(tells(dns([`${A}/s`, `${B}/cls`]))).toEqual([]);
  });

  test("when the first one is here, for whom policy lets lead nowhere else", () => {
    programmer.apply({ upserted: [local(A)], removed: [] });
    expect(tells(local(A, B))).toEqual([]);
    expect(tells(local(A, `${B}/cls`))).toEqual([`${DNS}:`]);
    expect(tells(local(`${A}/cls`, `${B}/cls`))).toEqual([]);
  });

  test("when policy does not ask for one here any more", () => {
    programmer.apply({ upserted: [local(A)], removed: [] });
    expect(tells(dns([A]))).toEqual([`${DNS}:`]);
    expect(tells(local(A))).toEqual([]);
  });

  test("and not when only the Service changes, or goes", () => {
    programmer.apply({ upserted: [dns([A])], removed: [] });
    expect(tells(dns([A], { affinitySec: 30 }))).toEqual([]);
    expect(tells(dns([A], { frontends: [frontend("nodePort", "", 30053)] }))).toEqual([]);
    expect(tells(dns([A], { clusterIp: "10.96.0.12" }))).toEqual([]);
    heard = [];
    programmer.apply({ upserted: [], removed: [dns([]).key] });
    expect(heard).toEqual([]);
  });
});

describe("a flow is stranded", () => {
  const flow = (frontendText: string, backendText: string, protocol: Protocol = 17): Flow => {
    const [frontendAddress = "", frontendPort] = frontendText.split("|");
    const [backendAddress = "", backendPort] = backendText.split(":");
    return {
      cookie: 1n,
      protocol,
      frontendAddress: addressBytes(frontendAddress),
      frontendPort: Number(frontendPort),
      backendAddress: addressBytes(backendAddress),
      backendPort: Number(backendPort),
      backendId: 1,
      generation: 0,
      serviceId: 1,
      stored: false,
    };
  };
  const stranded = (one: Flow): boolean => isStranded(one, programmer.ownerOf);

  test("if others serve what it called, and its endpoint does not", () => {
    programmer.apply({ upserted: [dns([A, `${B}/s`, `${C}/c`])], removed: [] });
    expect(stranded(flow("10.96.0.10|53", A))).toBe(false);
    expect(stranded(flow("10.96.0.10|53", B))).toBe(false);
    expect(stranded(flow("10.96.0.10|53", C))).toBe(true);
    expect(stranded(flow("10.96.0.10|53", "10.1.0.4:5353"))).toBe(true);
    expect(stranded(flow("10.96.0.10|53", "10.1.0.1:5354"))).toBe(true);
    expect(stranded(flow("10.96.0.10|53", "10.0.0.0:1"))).toBe(true);
  });

  test("not if nothing serves, and not if nobody knows any more what it called", () => {
    programmer.apply({ upserted: [dns([`${A}/c`])], removed: [] });
    expect(stranded(flow("10.96.0.10|53", B))).toBe(false);
    programmer.apply({ upserted: [dns([A])], removed: [] });
    expect(stranded(flow("10.96.0.10|53", B))).toBe(true);
    expect(stranded(flow("10.96.0.10|53", B, 6))).toBe(false);
    expect(stranded(flow("10.96.0.10|54", B))).toBe(false);
    expect(stranded(flow("10.96.0.99|53", B))).toBe(false);
  });

  test("that was led nowhere, when an endpoint is there that it may be led to", () => {
    const nowhere = flow("10.96.0.10|53", "10.96.0.10:53");
    const isSo = (unit: Unit): boolean => {
      programmer.apply({ upserted: [unit], removed: [] });
      return stranded(nowhere);
    };
    expect(isSo(local(A))).toBe(false);
    expect(isSo(local(A, `${B}/cls`))).toBe(true);
    expect(isSo(local(A, `${B}/s`))).toBe(false);
    expect(isSo(dns([A]))).toBe(true);
    expect(isSo(dns([]))).toBe(false);
  });

  test("by a NodePort, unless the address has a row of its own for that port", () => {
    const node = dns([A], { frontends: [frontend("nodePort", "", 30053)] });
    const external = makeUnit({
      name: "default/external",
      port: 30053,
      protocol: 17,
      endpoints: [B],
      frontends: [frontend("externalIP", "192.0.2.1", 30053)],
    });
    programmer.apply({ upserted: [node, external], removed: [] });
    expect(stranded(flow("10.77.0.1|30053", B))).toBe(true);
    expect(stranded(flow("10.77.0.1|30053", A))).toBe(false);
    expect(stranded(flow("192.0.2.1|30053", B))).toBe(false);
    expect(stranded(flow("192.0.2.1|30053", A))).toBe(true);
    expect(stranded(flow("fd00::1|30053", B))).toBe(false);
    const state = (name: string) =>
      [...programmer.units()].map((unit) => unit.state).find((unit) => unit.name === name);
    const query = new StrandedFlows([state(DNS) ?? expect.unreachable()], programmer.ownerOf);
    expect(query.matches(flow("10.77.0.1|30053", B))).toBe(true);
    // Of a unit that has not changed.
    expect(query.matches(flow("192.0.2.1|30053", A))).toBe(false);
  });

  test("is looked for by protocol and port first, and not at all where nothing serves", () => {
    programmer.apply({ upserted: [dns([A])], removed: [] });
    const units = () => [...programmer.units()].map(({ state }) => state);
    const query = new StrandedFlows(units(), programmer.ownerOf);
    expect([query.concerns(17, 53), query.concerns(6, 53), query.concerns(17, 54)]).toEqual([true, false, false]);
    expect(query.isEmpty).toBe(false);
    programmer.apply({ upserted: [dns([])], removed: [] });
    expect(new StrandedFlows(units(), programmer.ownerOf).isEmpty).toBe(true);
  });
});
