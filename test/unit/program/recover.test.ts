// SPDX-License-Identifier: Apache-2.0
// Tables that no crash of ours leaves but somebody's hand may: recovered as far as they make sense, healed by the next
// apply, and never the reason for a second unit's trouble.

import { expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import { extentWord } from "../../../src/datapath/extent.ts";
import { ALGORITHM, FRONTEND } from "../../../src/datapath/layout.ts";
import { addressBytes } from "../../../src/model/address.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { readUnits } from "../../../src/program/recover.ts";
import { expectEqualToFresh, options } from "../../support/fresh-maps.ts";
import { mapLines } from "../../support/map-lines.ts";
import { emptyMemory, frontendText, MemoryMaps, type MemoryState } from "../../support/memory-maps.ts";
import { frontend, makeUnit } from "../../support/units.ts";

const web = makeUnit({
  name: "a/web:http",
  clusterIp: "10.96.0.1",
  endpoints: ["10.1.0.1:80/cls", "10.1.0.2:80"],
  frontends: [frontend("externalIP", "192.0.2.1", 80)],
});
const api = makeUnit({ name: "b/api", clusterIp: "10.96.0.2", endpoints: ["10.1.0.1:80", "10.1.0.3:80"] });
const six = makeUnit({ name: "b/api", clusterIp: "fd00::2", endpoints: ["[fd01::1]:80"] });
const UNITS = [web, api, six];

async function programmed(units: readonly Unit[] = UNITS): Promise<MemoryState> {
  const memory = emptyMemory();
  const programmer = await Programmer.start(new MemoryMaps(memory), options);
  programmer.apply({ upserted: units, removed: [] });
  await programmer.settled();
  return memory;
}

/** Starts on the table, sees the units again, and must end where a fresh program does. */
async function heal(memory: MemoryState, units: readonly Unit[] = UNITS): Promise<void> {
  const programmer = await Programmer.start(new MemoryMaps(memory), options);
  programmer.allowDeletes();
  programmer.apply({ upserted: units, removed: [] });
  await expectEqualToFresh(memory, programmer, units);
  expect(memory.active.size).toBe(0);
}

const idOf = (memory: MemoryState, name: string): number =>
  [...memory.names].find(([, row]) => row.name === name)?.[0] ?? 0;

test("a unit is read as it was programmed", async () => {
  const { units, virgin } = readUnits(new MemoryMaps(await programmed()));
  expect(virgin).toBe(false);
  expect([...units.keys()].sort()).toEqual(UNITS.map(({ key }) => key).sort());
  const state = units.get(web.key);
  expect(state).toMatchObject({
    name: "a/web:http",
    family: 4,
    protocol: 6,
    affinitySec: 0,
    stale: 0,
    unclaimed: true,
  });
  expect(state?.endpoints).toEqual(web.endpoints);
  expect(state?.rows.map(({ key }) => key).sort()).toEqual(["10.96.0.1|80|6", "192.0.2.1|80|6"]);
});

const DAMAGES: readonly [string, (memory: MemoryState) => void][] = [
  [
    "a word leads out of the slots",
    (m) => m.services.set(1, { cluster: extentWord(1020, 30, 2), local: 0n, affinitySec: 0 }),
  ],
  [
    "a word has an unknown algorithm",
    (m) => m.services.set(1, { cluster: extentWord(0, 2, 99), local: 0n, affinitySec: 0 }),
  ],
  [
    "a word says nobody of some",
    (m) => m.services.set(1, { cluster: extentWord(0, 2, ALGORITHM.REJECT), local: 0n, affinitySec: 0 }),
  ],
  ["two words share slots", (m) => m.services.set(2, { cluster: extentWord(1, 2, 2), local: 0n, affinitySec: 0 })],
  ["a slot holds another service's backend", (m) => m.slots.set([4], 0)],
  ["a slot holds one backend twice", (m) => m.slots.set([m.slots[1] ?? 0], 0)],
  ["a backend's flags were changed", (m) => m.backends.set(1, { ...m.backends.get(1), flags: 4 } as never)],
  ["a backend was wiped", (m) => m.backends.delete(2)],
  ["a backend is there twice", (m) => m.backends.set(300, { ...m.backends.get(1) } as never)],
  ["a backend belongs to no service", (m) => m.backends.set(300, { ...m.backends.get(1), serviceId: 60 } as never)],
  ["a retired backend has flags", (m) => m.backends.set(300, { ...m.backends.get(1), generation: 3 } as never)],
  [
    "a retired backend is still counted",
    (m) => {
      m.backends.set(300, { ...m.backends.get(1), generation: 3, flags: 0 } as never);
      m.active.set(300, 9n);
    },
  ],
  ["a name is lost", (m) => m.names.delete(1)],
  ["two ids have one name", (m) => m.names.set(9, { family: 4, protocol: 6, name: "a/web:http" })],
  ["a name stands under an id that is none", (m) => m.names.set(4000, { family: 4, protocol: 6, name: "z/z:z" })],
  ["a row is gone", (m) => m.frontends.delete("10.96.0.1|80|6")],
  ["an any-port row is gone", (m) => m.frontends.delete("10.96.0.1|0|0")],
  [
    "a row leads to another service",
    (m) => m.frontends.set("10.96.0.1|80|6", { ...m.frontends.get("10.96.0.1|80|6"), serviceId: 2 } as never),
  ],
  [
    "a row leads to a service id that is none",
    (m) => m.frontends.set("10.96.0.1|80|6", { ...m.frontends.get("10.96.0.1|80|6"), serviceId: 5000 } as never),
  ],
  [
    "a row's flags were changed",
    (m) => m.frontends.set("192.0.2.1|80|6", { ...m.frontends.get("192.0.2.1|80|6"), flags: 0 } as never),
  ],
  [
    "a row nobody asked for",
    (m) => {
      const row = {
        address: addressBytes("10.96.7.7"),
        port: 1,
        protocol: 17,
        serviceId: 7,
        flags: FRONTEND.CLUSTER_IP,
      } as const;
      m.frontends.set(frontendText(row), row);
    },
  ],
  [
    "an any-port row of no Service",
    (m) => {
      const row = {
        address: addressBytes("10.96.7.7"),
        port: 0,
        protocol: 0,
        serviceId: 0,
        flags: FRONTEND.ANY_PORT,
      } as const;
      m.frontends.set(frontendText(row), row);
    },
  ],
  ["affinity was changed", (m) => m.services.set(1, { ...m.services.get(1), affinitySec: 77 } as never)],
  [
    "everything but the names is gone",
    (m) => {
      for (const map of [m.frontends, m.services, m.backends]) map.clear();
    },
  ],
  [
    "everything but the rows is gone",
    (m) => {
      for (const map of [m.names, m.services, m.backends]) map.clear();
    },
  ],
];

test.each(DAMAGES)("%s: healed by the next apply", async (_, damage) => {
  const memory = await programmed();
  damage(memory);
  await heal(memory);
});

test.each(DAMAGES)("%s: nothing but what is asked for is left when nothing is", async (_, damage) => {
  const memory = await programmed();
  damage(memory);
  await heal(memory, []);
  expect(memory.frontends.size + memory.names.size).toBe(0);
});

test("rows whose name is lost serve on until deletes are allowed", async () => {
  const memory = await programmed();
  const before = mapLines(new MemoryMaps(memory)).filter((line) => line.startsWith("a/web"));
  const id = idOf(memory, "a/web:http");
  memory.names.delete(id);
  const port = new MemoryMaps(memory);
  const programmer = await Programmer.start(port, options);
  programmer.apply({ upserted: [api, six], removed: [] });
  await programmer.settled();
  expect(port.writes).toBe(0);
  expect([...programmer.units()].map(({ state }) => state.key).sort()).toEqual([`#${id}`, api.key, six.key].sort());
  expect(mapLines(port).filter((line) => line.startsWith("nameless"))).toEqual(
    before.map((line) => line.replace("a/web:http", `nameless ${id}`)),
  );
});

test("what recovery mends on its own is not seen by anybody", async () => {
  const memory = await programmed();
  memory.backends.set(300, { ...new MemoryMaps(memory).backend(1), serviceId: 60 });
  const lines = mapLines(new MemoryMaps(memory));
  const port = new MemoryMaps(memory);
  const programmer = await Programmer.start(port, options);
  await programmer.settled();
  expect(port.backend(300)).toMatchObject({ flags: 0, generation: 1 });
  expect(mapLines(port)).toEqual(lines);
  expect(port.writes).toBe(1);
});
