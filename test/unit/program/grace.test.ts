// SPDX-License-Identifier: Apache-2.0
// What is out of use comes back only after its grace periods, and survives a kernel that has none to give.

import { expect, test } from "vitest";
import { BACKEND } from "../../../src/datapath/layout.ts";
import { isRetired } from "../../../src/program/backend-book.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { expectEqualToFresh, options } from "../../support/fresh-maps.ts";
import { emptyMemory, type Faults, MapFailure, MemoryMaps } from "../../support/memory-maps.ts";
import { makeUnit } from "../../support/units.ts";

/** Grace periods that end when they are told to. */
class Clock {
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  grace(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  get running(): number {
    return this.#waiting.length;
  }

  async pass(error?: Error): Promise<void> {
    const next = this.#waiting.shift();
    if (error === undefined) next?.resolve();
    else next?.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const two = makeUnit({ name: "a/b:c", clusterIp: "10.96.0.1", endpoints: ["10.1.0.1:80", "10.1.0.2:80"] });
const one = makeUnit({ name: "a/b:c", clusterIp: "10.96.0.1", endpoints: ["10.1.0.1:80"] });

async function programmed(faults: Omit<Faults, "grace"> = {}) {
  const clock = new Clock();
  const memory = emptyMemory();
  const port = new MemoryMaps(memory, { ...faults, grace: () => clock.grace() });
  const programmer = await Programmer.start(port, options);
  programmer.allowDeletes();
  programmer.apply({ upserted: [two], removed: [] });
  return { clock, memory, port, programmer };
}

test("an untouched table needs no grace period to start, a used one does, before anything is given out", async () => {
  const { memory } = await programmed();
  const clock = new Clock();
  let started = false;
  const start = Programmer.start(new MemoryMaps(memory, { grace: () => clock.grace() }), options).then(() => {
    started = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect({ running: clock.running, started }).toEqual({ running: 1, started: false });
  await clock.pass();
  await start;
});

test("a removed endpoint: flags and generation at once, id and counter after a grace period", async () => {
  const { clock, memory, port, programmer } = await programmed();
  memory.active.set(2, 3n);
  programmer.apply({ upserted: [one], removed: [] });
  expect(port.backend(2)).toMatchObject({ flags: 0, generation: 1 });
  expect(programmer.status()).toMatchObject({ quarantined: 1, fill: { backends: { used: 2 }, slots: { used: 3 } } });
  expect(port.active(2)).toBe(3n);
  programmer.apply({
    upserted: [makeUnit({ name: "x/y:z", clusterIp: "10.96.0.9", endpoints: ["10.1.0.7:80"] })],
    removed: [],
  });
  expect(port.backend(2).flags).toBe(0);
  expect(port.backend(3)).toMatchObject({ flags: BACKEND.CLUSTER | BACKEND.SERVING, generation: 0 });

  await clock.pass();
  expect(port.active(2)).toBe(0n);
  expect(programmer.status()).toMatchObject({ quarantined: 0, graces: 1, fill: { backends: { used: 2 } } });
  expect(clock.running).toBe(0);
  programmer.apply({ upserted: [two], removed: [] });
  expect(port.backend(2)).toMatchObject({ flags: BACKEND.CLUSTER | BACKEND.SERVING, generation: 2 });
  expect(isRetired(port.backendGeneration(2))).toBe(false);
});

test("a batch that comes while one waits has a grace period of its own", async () => {
  const { clock, port, programmer } = await programmed();
  programmer.apply({ upserted: [one], removed: [] });
  programmer.apply({ upserted: [], removed: [one.key] });
  expect(clock.running).toBe(1);
  expect([port.backendGeneration(1), port.backendGeneration(2)]).toEqual([1, 1]);
  await clock.pass();
  expect(programmer.status().fill).toMatchObject({ services: { used: 1 }, backends: { used: 1 } });
  await clock.pass();
  expect(programmer.status().fill).toMatchObject({ services: { used: 0 }, backends: { used: 0 }, slots: { used: 0 } });
  expect(clock.running).toBe(0);
});

test("without a grace period nothing is freed, it is said, and taken up again", async () => {
  const { clock, memory, programmer } = await programmed();
  programmer.apply({ upserted: [one], removed: [] });
  await clock.pass(new MapFailure("grace", "EPERM"));
  expect(programmer.status()).toMatchObject({ quarantined: 1, graces: 0, failure: "no grace period: grace: EPERM" });
  expect(clock.running).toBe(0);
  programmer.retry();
  await clock.pass();
  expect(programmer.status().failure).toBe(null);
  await expectEqualToFresh(memory, programmer, [one]);
});

test("a name that cannot be deleted keeps its id until it can", async () => {
  let broken = true;
  const { clock, memory, programmer } = await programmed({
    fails: (operation) => broken && operation === "deleteName",
  });
  programmer.apply({ upserted: [], removed: [two.key] });
  await clock.pass();
  expect(programmer.status()).toMatchObject({
    failure: expect.stringContaining("name of service id 1 not deleted"),
    fill: { services: { used: 1 } },
  });
  broken = false;
  programmer.retry();
  await clock.pass();
  await clock.pass();
  await expectEqualToFresh(memory, programmer, []);
});
