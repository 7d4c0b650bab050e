// SPDX-License-Identifier: Apache-2.0
// What each kind of change writes, and no more; rows that move between units; what the programmer says of itself.

import { describe, expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import { parseExtentWord } from "../../../src/datapath/extent.ts";
import { FRONTEND, NODE_ADDR } from "../../../src/datapath/layout.ts";
import { addressBytes } from "../../../src/model/address.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { expectEqualToFresh, options, tableOf } from "../../support/fresh-maps.ts";
import { LookupGuard } from "../../support/lookup-guard.ts";
import { mapLines } from "../../support/map-lines.ts";
import { emptyMemory, type Faults, MemoryMaps } from "../../support/memory-maps.ts";
import { frontend, makeUnit, type UnitText } from "../../support/units.ts";

const hosts = (...numbers: number[]): string[] => numbers.map((n) => `10.1.0.${n}:80`);
const web = (change: Partial<UnitText> = {}): Unit =>
  makeUnit({ name: "a/web:http", clusterIp: "10.96.0.1", endpoints: hosts(1, 2, 3), ...change });

/** A programmer on its own memory, and what is stored, operation by operation. */
async function programmed(units: readonly Unit[], faults: Faults = {}) {
  const stores: string[] = [];
  const memory = emptyMemory();
  const port = new MemoryMaps(memory, { ...faults, afterStore: (operation) => stores.push(operation) });
  const programmer = await Programmer.start(port, options);
  programmer.allowDeletes();
  programmer.apply({ upserted: units, removed: [] });
  await programmer.settled();
  stores.length = 0;
  const apply = (...upserted: Unit[]) => {
    stores.length = 0;
    return programmer.apply({ upserted, removed: [] });
  };
  return { memory, port, programmer, stores, apply };
}

describe("writes", () => {
  test("a new Service: name, backends, slots, word, rows, in this order", async () => {
    const { apply, stores } = await programmed([]);
    expect(apply(web())).toMatchObject({ added: 1, writes: 1 + 3 + 1 + 1 + 2 });
    expect([...new Set(stores)]).toEqual([
      "setName",
      "writeBackend",
      "writeBackendFlags",
      "writeSlots",
      "set cluster",
      "putFrontend",
    ]);
  });

  test("an equal unit: nothing", async () => {
    const { apply } = await programmed([web()]);
    expect(apply(web())).toMatchObject({ unchanged: 1, writes: 0 });
  });

  test("one endpoint more: backend, slots, word; in place while the extent has room", async () => {
    const { apply, stores, port } = await programmed([web({ endpoints: hosts(1, 2, 3, 4, 5, 6, 7, 8, 9) })]);
    const { cluster } = port.service(1);
    expect(apply(web({ endpoints: hosts(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) }))).toMatchObject({ changed: 1, writes: 3 });
    expect(stores).toEqual(["writeBackend", "writeBackendFlags", "writeSlots", "set cluster"]);
    expect(port.service(1).cluster - cluster).toBe(1n << 32n);
    expect(apply(web({ endpoints: hosts(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) })).writes).toBe(3);
    expect(port.service(1).cluster & 0xffffffffn).not.toBe(cluster & 0xffffffffn);
  });

  test("one endpoint less: slots, word, flags and generation", async () => {
    const { apply, stores, programmer } = await programmed([web()]);
    expect(apply(web({ endpoints: hosts(1, 3) })).writes).toBe(3);
    await programmer.settled();
    expect(stores).toEqual(["writeSlots", "writeSlots", "set cluster", "setBackendState"]);
  });

  test("one endpoint replaced: backend, its slot in place, flags and generation of the old one", async () => {
    const { apply, stores, programmer, port } = await programmed([web()]);
    const { cluster } = port.service(1);
    expect(apply(web({ endpoints: hosts(1, 3, 4) })).writes).toBe(3);
    await programmer.settled();
    expect(stores).toEqual(["writeBackend", "writeBackendFlags", "writeSlots", "setBackendState"]);
    expect(port.service(1).cluster).toBe(cluster);
    expect([...port.slots(0, 3)]).toEqual([1, 4, 3]);
  });

  test("n endpoints replaced, and more come than go: 2n + 1, and the word", async () => {
    const { apply, port } = await programmed([web()]);
    expect(apply(web({ endpoints: hosts(3, 4, 5) })).writes).toBe(2 * 2 + 1);
    const nine = await programmed([web({ endpoints: hosts(1, 2, 3, 4, 5, 6, 7, 8, 9) })]);
    expect(nine.apply(web({ endpoints: hosts(1, 2, 4, 5, 6, 7, 8, 9, 10, 11) })).writes).toBe(2 + 1 + 1 + 1);
    expect([...nine.port.slots(0, 10)]).toEqual([1, 2, 10, 4, 5, 6, 7, 8, 9, 11]);
    expect(port.service(1).cluster & 0xffffffffn).toBe(0n);
  });

  test("slots that somebody has written to are not written in place", async () => {
    const { apply, port } = await programmed([web()]);
    port.writeSlots(1, Uint32Array.of(77));
    apply(web({ endpoints: hosts(1, 3, 4) }));
    const { base } = parseExtentWord(port.service(1).cluster);
    expect(base).not.toBe(0);
    expect([...port.slots(base, 3)]).toEqual([1, 3, 4]);
  });

  test("terminating: the word first, then the flags, the id is kept", async () => {
    const { apply, stores, port } = await programmed([web()]);
    apply(web({ endpoints: ["10.1.0.1:80/s", ...hosts(2, 3)] }));
    expect(stores).toEqual(["writeSlots", "writeSlots", "set cluster", "setBackendState"]);
    expect(port.backend(1)).toMatchObject({ flags: 4, generation: 0 });
  });

  test("ready again: the flags first, then the word", async () => {
    const { apply, stores } = await programmed([web({ endpoints: ["10.1.0.1:80/s", ...hosts(2, 3)] })]);
    apply(web());
    expect(stores[0]).toBe("setBackendState");
    expect(stores.at(-1)).toBe("set cluster");
  });

  test("a policy: the row alone; affinity: its word alone; what an empty set answers: the word alone", async () => {
    const { apply, stores } = await programmed([web()]);
    apply(web({ frontends: [frontend("externalIP", "192.0.2.1", 80)] }));
    expect(stores).toEqual(["putFrontend"]);
    apply(web({ frontends: [frontend("externalIP", "192.0.2.1", 80, true)] }));
    expect(stores).toEqual(["putFrontend"]);
    apply(web({ frontends: [frontend("externalIP", "192.0.2.1", 80, true)], affinitySec: 60 }));
    expect(stores).toEqual(["set affinitySec"]);
    apply(web({ frontends: [frontend("externalIP", "192.0.2.1", 80, true)], affinitySec: 60, emptyLocal: "drop" }));
    expect(stores).toEqual(["set local"]);
  });

  test("a Service that goes: rows, any-port row, word, flags; its name last", async () => {
    const { programmer, stores } = await programmed([web()]);
    programmer.apply({ upserted: [], removed: [web().key] });
    await programmer.settled();
    expect([...new Set(stores)]).toEqual(["deleteFrontend", "set cluster", "setBackendState", "deleteName"]);
  });

  test("names and rows of many new Services go in batches", async () => {
    const batches: string[] = [];
    class Counting extends MemoryMaps {
      override setNames(rows: Parameters<MemoryMaps["setNames"]>[0]): number {
        batches.push(`names ${rows.length}`);
        return super.setNames(rows);
      }
      override putFrontends(rows: Parameters<MemoryMaps["putFrontends"]>[0]): number {
        batches.push(`frontends ${rows.length}`);
        return super.putFrontends(rows);
      }
    }
    const programmer = await Programmer.start(new Counting(emptyMemory()), options);
    const upserted = [1, 2, 3].map((n) => makeUnit({ name: `a/${n}`, clusterIp: `10.96.0.${n}` }));
    programmer.apply({ upserted, removed: [] });
    expect(batches).toEqual(["names 3", "frontends 3", "frontends 3"]);
  });
});

test("slots that were published and taken back are not written again before a grace period", async () => {
  const nine = hosts(1, 2, 3, 4, 5, 6, 7, 8, 9);
  const memory = emptyMemory();
  const guard = new LookupGuard(memory);
  let broken = false;
  const programmer = await Programmer.start(
    new MemoryMaps(memory, {
      fails: (operation) => broken && operation === "putFrontend",
      afterStore: (operation) => guard.afterStore(operation),
      grace: () => new Promise(() => {}),
    }),
    options,
  );
  programmer.apply({ upserted: [web({ endpoints: nine })], removed: [] });
  const { base } = [...programmer.units()][0]?.state.extents.cluster ?? { base: -1 };
  broken = true;
  const wider = web({ endpoints: [...nine, ...hosts(10)], frontends: [frontend("externalIP", "192.0.2.1", 80)] });
  expect(programmer.apply({ upserted: [wider], removed: [] }).refused).toHaveLength(1);
  const published = memory.slots[base + 9];
  broken = false;
  expect(programmer.apply({ upserted: [web({ endpoints: [...nine, ...hosts(11)] })], removed: [] })).toMatchObject({
    changed: 1,
  });
  expect(memory.slots[base + 9]).toBe(published);
  expect(guard.violations.filter((text) => text.includes("reused"))).toEqual([]);
});

describe("rows", () => {
  const thief = makeUnit({
    name: "b/thief:x",
    frontends: [frontend("clusterIP", "10.96.0.1", 80)],
    endpoints: hosts(9),
  });

  test("a row moves to another unit by one write, and the old owner's removal leaves it alone", async () => {
    const { programmer, port, stores } = await programmed([web()]);
    programmer.apply({ upserted: [thief], removed: [web().key] });
    await programmer.settled();
    expect(stores.filter((operation) => operation === "deleteFrontend")).toEqual([]);
    expect(mapLines(port)).toEqual(["b/thief:x TCP 10.96.0.1:80 ClusterIP cluster=10.1.0.9:80"]);
  });

  test("two units swap their rows", async () => {
    const other = makeUnit({ name: "b/o", clusterIp: "10.96.0.2", endpoints: hosts(9) });
    const { apply, port } = await programmed([web(), other]);
    apply(web({ clusterIp: "10.96.0.2" }), { ...other, frontends: web().frontends });
    expect(mapLines(port).map((line) => line.split(" ").slice(0, 3).join(" "))).toEqual([
      "a/web:http TCP 10.96.0.2:80",
      "b/o TCP 10.96.0.1:80",
    ]);
  });

  test("a unit whose row fails gives back the row it took", async () => {
    let writes = 0;
    const faults: Faults = { fails: (operation) => operation === "putFrontend" && [2, 3].includes(++writes) };
    const { programmer, port } = await programmed([]);
    programmer.apply({ upserted: [web()], removed: [] });
    const before = mapLines(port);
    const failing = new MemoryMaps((await programmed([web()])).memory, faults);
    const second = await Programmer.start(failing, options);
    const greedy = { ...thief, frontends: [...thief.frontends, frontend("externalIP", "192.0.2.1", 80)] };
    expect(second.apply({ upserted: [greedy], removed: [] }).refused).toMatchObject([
      { name: "b/thief:x", reason: "putFrontend: EBUSY" },
    ]);
    await second.settled();
    expect(mapLines(failing)).toEqual(before);
  });

  test("an any-port row lives as long as a Service has the address", async () => {
    const dns = makeUnit({ name: "a/web:dns", clusterIp: "10.96.0.1", port: 53, protocol: 17 });
    const { programmer, memory } = await programmed([web(), dns]);
    expect(memory.frontends.get("10.96.0.1|0|0")).toMatchObject({ serviceId: 0, flags: FRONTEND.ANY_PORT });
    programmer.apply({ upserted: [], removed: [web().key] });
    expect(memory.frontends.has("10.96.0.1|0|0")).toBe(true);
    programmer.apply({ upserted: [], removed: [dns.key] });
    expect(memory.frontends.size).toBe(0);
  });

  test("flags: roles of one address together, policies, and the guard as it is told", async () => {
    const both = [
      frontend("externalIP", "192.0.2.1", 80),
      frontend("loadBalancer", "192.0.2.1", 80, true),
      frontend("nodePort", "", 30000),
    ];
    const { memory } = await programmed([web({ frontends: both })]);
    const { EXTERNAL_IP, LOAD_BALANCER, EXTERNAL_LOCAL, BIND_GUARD, NODE_PORT, CLUSTER_IP } = FRONTEND;
    expect(memory.frontends.get("192.0.2.1|80|6")?.flags).toBe(
      EXTERNAL_IP | LOAD_BALANCER | EXTERNAL_LOCAL | BIND_GUARD,
    );
    expect(memory.frontends.get("0.0.0.0|30000|6")?.flags).toBe(NODE_PORT | BIND_GUARD);
    expect(memory.frontends.get("10.96.0.1|80|6")?.flags).toBe(CLUSTER_IP);
  });
});

describe("what it says", () => {
  test("units, fill, and what is pending with its reason", async () => {
    let broken = false;
    const { apply, programmer } = await programmed([web()], {
      fails: (operation) => broken && operation === "putFrontend",
    });
    broken = true;
    const external = web({ frontends: [frontend("externalIP", "192.0.2.1", 80)], endpoints: hosts(7) });
    expect(apply(external).refused).toMatchObject([
      { key: web().key, action: "program", reason: "putFrontend: EBUSY" },
    ]);
    const [unit] = programmer.units();
    expect(unit).toMatchObject({ condition: "pending", reason: "putFrontend: EBUSY", state: { key: web().key } });
    expect(unit?.state.endpoints).toEqual(web().endpoints);
    expect(programmer.status()).toMatchObject({
      units: 1,
      recovered: 0,
      endpoints: 3,
      fill: { services: { used: 1, capacity: 63 }, frontends: { used: 2, capacity: 256 } },
      pending: [{ name: "a/web:http" }],
    });
    broken = false;
    expect(programmer.retry()).toMatchObject({ changed: 1, refused: [] });
    expect([...programmer.units()].map(({ condition, reason }) => [condition, reason])).toEqual([["programmed", null]]);
  });

  test("a unit whose rows cannot be deleted is being removed until they can", async () => {
    let broken = true;
    const { programmer, memory } = await programmed([web()], {
      fails: (operation) => broken && operation === "deleteFrontend",
    });
    const report = programmer.apply({ upserted: [], removed: [web().key] });
    expect(report).toMatchObject({
      removed: 0,
      refused: [{ action: "remove", reason: expect.stringContaining("not deleted") }],
    });
    expect([...programmer.units()]).toMatchObject([{ condition: "removing" }]);
    broken = false;
    expect(programmer.apply({ upserted: [], removed: [] })).toMatchObject({ removed: 1 });
    expect(memory.frontends.size).toBe(0);
  });
});

describe("node addresses", () => {
  const entry = (text: string, flags: number = NODE_ADDR.MINE) => ({ address: addressBytes(text), flags });

  test("only differences are written, new ones first; a failed one is said and tried again", async () => {
    let broken = false;
    const { programmer, stores, memory } = await programmed([], {
      fails: (operation) => broken && operation === "putNodeAddress",
    });
    programmer.setNodeAddresses([entry("192.0.2.1"), entry("fd00::1")]);
    programmer.setNodeAddresses([entry("fd00::1"), entry("192.0.2.1")]);
    expect(stores).toEqual(["putNodeAddress", "putNodeAddress"]);
    broken = true;
    programmer.setNodeAddresses([entry("192.0.2.1", NODE_ADDR.MINE | NODE_ADDR.NODE_PORT), entry("192.0.2.9")]);
    expect(programmer.status().failure).toBe("node address 192.0.2.9: putNodeAddress: EBUSY");
    broken = false;
    programmer.retry();
    expect(programmer.status().failure).toBe(null);
    expect([...memory.nodeAddresses].map(([text, [, flags]]) => [text, flags])).toEqual([
      ["192.0.2.1", 3],
      ["192.0.2.9", 1],
    ]);
  });
});

test("an address that passes between units of different parts of a first sync always has an owner", async () => {
  const at = (name: string, ...clusterIps: string[]): Unit =>
    makeUnit({ name, endpoints: hosts(name.length), frontends: clusterIps.map((ip) => frontend("clusterIP", ip, 80)) });
  const memory = emptyMemory();
  const first = await Programmer.start(new MemoryMaps(memory), options);
  first.apply({ upserted: [at("a/a", "10.96.0.1", "10.96.0.3"), at("a/bb", "10.96.0.2")], removed: [] });
  for (const parts of [true, false]) {
    const guard = new LookupGuard(memory);
    const port = new MemoryMaps(memory, { afterStore: (operation) => guard.afterStore(operation) });
    const next = await Programmer.start(port, options);
    const wanted = [at("a/a", parts ? "10.96.0.2" : "10.96.0.1"), at("a/bb", parts ? "10.96.0.1" : "10.96.0.2")];
    guard.expect(await tableOf(wanted));
    next.apply({ upserted: wanted.slice(0, 1), removed: [] }, parts);
    next.apply({ upserted: wanted.slice(1), removed: [] });
    expect(guard.violations.length > 0).toBe(!parts);
    next.allowDeletes();
    next.apply({ upserted: [], removed: [] });
    await expectEqualToFresh(memory, next, wanted);
  }
});
