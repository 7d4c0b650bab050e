// SPDX-License-Identifier: Apache-2.0
// The agent dies after any single store. The next one finds a table that still answers rightly, adopts it, and ends
// where a program that never crashed would; if nothing has changed meanwhile, it writes nothing.

import { expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { expectEqualToFresh, options, tableOf } from "../../support/fresh-maps.ts";
import { LookupGuard, readTable } from "../../support/lookup-guard.ts";
import { Crash, emptyMemory, type Faults, MemoryMaps, type MemoryState } from "../../support/memory-maps.ts";
import { fc } from "../../support/property.ts";
import { deltaOf, history } from "../../support/unit-history.ts";
import { frontend, makeUnit } from "../../support/units.ts";

/** Lets `stores` stores happen and then none. */
function mortal(guard: LookupGuard, stores: number): Faults & { readonly dead: () => boolean } {
  let left = stores;
  return {
    beforeStore: () => {
      if (left-- <= 0) throw new Crash("killed");
    },
    afterStore: (store) => guard.afterStore(store),
    grace: () => guard.grace(),
    dead: () => left < 0,
  };
}

/** Lives through the steps until it is killed; returns the last step it was asked for. */
async function live(
  memory: MemoryState,
  guard: LookupGuard,
  faults: ReturnType<typeof mortal>,
  steps: readonly Unit[][],
): Promise<readonly Unit[]> {
  const programmer = await Programmer.start(new MemoryMaps(memory, faults), options);
  programmer.allowDeletes();
  let before: readonly Unit[] = [];
  for (const [index, units] of steps.entries()) {
    guard.expect(await tableOf(units));
    try {
      programmer.apply(deltaOf(before, units));
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    before = units;
    const settled = programmer.settled().catch((error: unknown) => {
      if (!(error instanceof Crash)) throw error;
    });
    if (index % 2 === 1) await settled;
    if (faults.dead()) break;
  }
  await programmer.settled().catch(() => {});
  return before;
}

/** Dies after `stores` stores, starts again and is asked for what was asked last. */
async function dieAndRecover(steps: readonly Unit[][], stores: number): Promise<boolean> {
  const memory = emptyMemory();
  const guard = new LookupGuard(memory);
  const faults = mortal(guard, stores);
  const wanted = await live(memory, guard, faults, steps);
  const port = new MemoryMaps(memory, { afterStore: (store) => guard.afterStore(store), grace: () => guard.grace() });
  guard.expect(readTable(port));
  const programmer = await Programmer.start(port, options);
  await programmer.settled();
  guard.expect(await tableOf(wanted));
  programmer.allowDeletes();
  expect(programmer.apply({ upserted: wanted, removed: [] }).refused).toEqual([]);
  await expectEqualToFresh(memory, programmer, wanted);
  expect(guard.violations).toEqual([]);
  const again = new MemoryMaps(memory);
  const next = await Programmer.start(again, options);
  next.allowDeletes();
  expect(next.apply({ upserted: wanted, removed: [] })).toMatchObject({ unchanged: wanted.length, writes: 0 });
  await next.settled();
  expect(again.writes).toBe(0);
  return faults.dead();
}

const endpoints = ["10.1.0.1:8080/cls", "10.1.0.2:8080/cs", "10.1.0.3:8080/cs"];
const web = makeUnit({
  name: "a/web:http",
  clusterIp: "10.96.0.1",
  endpoints,
  frontends: [frontend("nodePort", "", 30001, true), frontend("loadBalancer", "192.0.2.1", 80, true)],
  emptyLocal: "drop",
  affinitySec: 10800,
});
const STEPS: Unit[][] = [
  [web, makeUnit({ name: "a/web:dns", clusterIp: "10.96.0.1", port: 53, protocol: 17, endpoints })],
  [makeUnit({ name: "a/web:http", clusterIp: "10.96.0.1", endpoints: ["10.1.0.2:8080/s", "10.1.0.4:8080/cs"] })],
  [
    makeUnit({ name: "b/thief:x", frontends: [frontend("clusterIP", "10.96.0.1", 80)], endpoints: ["10.1.0.9:1/cs"] }),
    makeUnit({ name: "a/web:http", clusterIp: "10.96.0.2", endpoints: [] }),
  ],
  [makeUnit({ name: "a/web:http", clusterIp: "10.96.0.2", endpoints })],
  [],
  [web],
];

test("death after each store of a history", async () => {
  let stores = 0;
  while (await dieAndRecover(STEPS, stores)) stores++;
  expect(stores).toBeGreaterThan(80);
});

test("death after any store of any history", async () => {
  await fc.assert(
    fc.asyncProperty(history, fc.nat({ max: 300 }), async (steps, stores) => {
      await dieAndRecover(steps, stores);
    }),
    { numRuns: 300 },
  );
});

test("until deletes are allowed, what nobody asked for stays and is reported", async () => {
  const memory = emptyMemory();
  const first = await Programmer.start(new MemoryMaps(memory), options);
  first.apply({ upserted: [web], removed: [] });
  await first.settled();
  const port = new MemoryMaps(memory);
  const second = await Programmer.start(port, options);
  second.apply({ upserted: [], removed: [web.key] });
  expect([...second.units()].map(({ state, condition }) => [state.key, condition])).toEqual([[web.key, "recovered"]]);
  expect(second.status()).toMatchObject({ units: 1, recovered: 1, endpoints: 3 });
  expect(port.writes).toBe(0);
  second.allowDeletes();
  expect(second.apply({ upserted: [], removed: [] })).toMatchObject({ removed: 1 });
  await expectEqualToFresh(memory, second, []);
});
