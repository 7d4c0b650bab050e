// SPDX-License-Identifier: Apache-2.0
// What somebody else did to the maps is found, counted and put right; what the programmer itself is doing is left alone.

import { expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import { NODE_ADDR } from "../../../src/datapath/layout.ts";
import { addressBytes } from "../../../src/model/address.ts";
import { Findings, type MapDamage } from "../../../src/program/findings.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { damage, random } from "../../support/damage.ts";
import { expectEqualToFresh, options } from "../../support/fresh-maps.ts";
import { mapLines } from "../../support/map-lines.ts";
import { emptyMemory, type Faults, MapFailure, MemoryMaps, type MemoryState } from "../../support/memory-maps.ts";
import { fc } from "../../support/property.ts";
import { deltaOf, history } from "../../support/unit-history.ts";
import { frontend, makeUnit } from "../../support/units.ts";

const hosts = (...numbers: number[]): string[] => numbers.map((n) => `10.1.0.${n}:80/cls`);
const UNITS = [1, 2, 3, 4].map((n) =>
  makeUnit({
    name: `a/web:${n}`,
    clusterIp: `10.96.0.${n}`,
    endpoints: hosts(n, n + 1, n + 2),
    frontends: [frontend("nodePort", "", 30000 + n, true), frontend("loadBalancer", `192.0.2.${n}`, 80)],
    affinitySec: 10800,
    sourceRanges: { allowHost: true, allowPods: false, prefixes: [`10.${n}.0.0/16`, `192.0.2.${n}/32`] },
  }),
);

async function programmed(faults: Faults = {}) {
  const memory = emptyMemory();
  const port = new MemoryMaps(memory, faults);
  const programmer = await Programmer.start(port, options);
  programmer.allowDeletes();
  programmer.setNodeAddresses([{ address: addressBytes("192.0.2.1"), flags: NODE_ADDR.MINE }]);
  programmer.apply({ upserted: [...UNITS, makeUnit({ name: "a/gone:x", clusterIp: "10.96.0.9" })], removed: [] });
  programmer.apply({ upserted: [], removed: ["a/gone:x/TCP/4"] });
  await programmer.settled();
  return { memory, port, programmer };
}

function audit(programmer: Programmer): Findings {
  const findings = new Findings();
  for (const _ of programmer.audit.run(findings));
  return findings;
}

/** Everything that counts, as text; connections and their counts are the programs'. */
function textOf({ active, bits, slots, ...rest }: MemoryState): string {
  const plain = (_: string, value: unknown): unknown => {
    if (typeof value === "bigint") return String(value);
    if (value instanceof Uint8Array) return [...value].join();
    return value instanceof Map ? [...value].sort(([a], [b]) => (a < b ? -1 : 1)) : value;
  };
  const words = [...new Uint32Array(bits).entries()].filter(([, word]) => word !== 0);
  return JSON.stringify([rest, [...slots.slice(0, 64)], words], plain, 1);
}

test("maps as they were written: nothing is found and nothing is written", async () => {
  const { port, programmer } = await programmed();
  const { writes } = port;
  for (let i = 0; i < 3; i++) expect(audit(programmer).total).toBe(0);
  expect(port.writes).toBe(writes);
});

test("3,000 damages, one at a time: each is found, counted once, of its kind, and undone; nothing else is touched", async () => {
  const { memory, port, programmer } = await programmed();
  const clean = textOf(memory);
  const pick = random(7);
  const seen = new Map<MapDamage, number>();
  for (let n = 0; n < 3_000; n++) {
    const kind = damage(memory, pick);
    if (kind === null) continue;
    const { writes } = port;
    const findings = audit(programmer);
    expect([...findings.repaired]).toEqual([[kind, 1]]);
    expect(textOf(memory)).toBe(clean);
    expect(port.writes - writes).toBeLessThanOrEqual(1);
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    // Now and then one that finds nothing: from then on the digest is what is compared.
    if (pick(2) === 0) expect(audit(programmer).total).toBe(0);
  }
  for (const [kind, count] of seen) expect(count, kind).toBeGreaterThan(30);
  expect(seen.size).toBe(8);
});

test("many damages at once, and all is as before", async () => {
  const { memory, programmer } = await programmed();
  const clean = textOf(memory);
  for (let seed = 0; seed < 200; seed++) {
    const pick = random(seed);
    for (let n = 0; n < 12; n++) damage(memory, pick);
    expect(textOf(memory)).not.toBe(clean);
    audit(programmer);
    expect(audit(programmer).total).toBe(0);
    expect(textOf(memory)).toBe(clean);
  }
});

test("twin: without an audit the damage stays", async () => {
  const { memory, programmer } = await programmed();
  const clean = textOf(memory);
  const pick = random(3);
  for (let n = 0; n < 20; n++) damage(memory, pick);
  programmer.apply({ upserted: UNITS, removed: [] });
  programmer.retry();
  await programmer.settled();
  expect(textOf(memory)).not.toBe(clean);
});

/** Lets an audit take some steps. */
class Stepping {
  readonly #programmer: Programmer;
  #findings = new Findings();
  #steps: Generator<void, void> | null = null;
  readonly found: string[] = [];

  constructor(programmer: Programmer) {
    this.#programmer = programmer;
  }

  step(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#steps ??= this.#programmer.audit.run(this.#findings);
      if (!this.#steps.next().done) continue;
      this.found.push(...this.#findings.examples);
      if (this.#findings.failure !== null) this.found.push(this.#findings.failure);
      this.#findings = new Findings();
      this.#steps = null;
    }
  }
}

test("whatever is programmed between its steps, an audit finds nothing where nobody else wrote", async () => {
  let failures = 0;
  await fc.assert(
    fc.asyncProperty(history, fc.integer(), fc.infiniteStream(fc.nat({ max: 12 })), async (steps, seed, counts) => {
      const memory = emptyMemory();
      let failing = false;
      const pick = random(seed);
      const fails = (): boolean => failing && pick(10) === 0 && ++failures > 0;
      const port = new MemoryMaps(memory, { fails });
      const programmer = await Programmer.start(port, options);
      programmer.allowDeletes();
      const auditing = new Stepping(programmer);
      let before: Unit[] = [];
      for (const units of steps) {
        failing = true;
        programmer.apply(deltaOf(before, units));
        failing = false;
        auditing.step(counts.next().value ?? 0);
        await new Promise((resolve) => setImmediate(resolve));
        auditing.step(counts.next().value ?? 0);
        before = units;
      }
      await programmer.settled();
      programmer.retry();
      auditing.step(200);
      expect(auditing.found).toEqual([]);
      await expectEqualToFresh(memory, programmer, before);
    }),
    { numRuns: 300 },
  );
  expect(failures).toBeGreaterThan(100);
});

test("damage while things change: what is left after the last audit is what was asked for", async () => {
  let damages = 0;
  await fc.assert(
    fc.asyncProperty(history, fc.integer(), fc.infiniteStream(fc.nat({ max: 12 })), async (steps, seed, counts) => {
      const memory = emptyMemory();
      const programmer = await Programmer.start(new MemoryMaps(memory), options);
      programmer.allowDeletes();
      const pick = random(seed);
      const auditing = new Stepping(programmer);
      let before: Unit[] = [];
      for (const units of steps) {
        programmer.apply(deltaOf(before, units));
        if (damage(memory, pick) !== null) damages++;
        auditing.step(counts.next().value ?? 0);
        if (damage(memory, pick) !== null) damages++;
        await new Promise((resolve) => setImmediate(resolve));
        before = units;
      }
      await programmer.settled();
      audit(programmer);
      expect(audit(programmer).total).toBe(0);
      await expectEqualToFresh(memory, programmer, before);
    }),
    { numRuns: 300 },
  );
  expect(damages).toBeGreaterThan(300);
});

test("what cannot be mended is told, and mended when it can be", async () => {
  let broken = false;
  const { memory, port, programmer } = await programmed({ fails: () => broken });
  const lines = mapLines(port);
  const [key] = memory.frontends.keys();
  memory.frontends.delete(key ?? "");
  broken = true;
  const findings = audit(programmer);
  expect(findings.failed).toBe(1);
  expect(findings.failure).toContain("EBUSY");
  expect(findings.total).toBe(0);
  broken = false;
  expect(audit(programmer).total).toBe(1);
  expect(mapLines(port)).toEqual(lines);
});

test("rows that were put where a full map had no room make place first", async () => {
  const memory = emptyMemory({ frontends: 12 });
  const port = new MemoryMaps(memory);
  const programmer = await Programmer.start(port, options);
  programmer.apply({ upserted: UNITS, removed: [] });
  const lines = mapLines(port);
  const [first] = memory.frontends.keys();
  memory.frontends.delete(first ?? "");
  memory.frontends.set("203.0.113.1|9|6", {
    address: addressBytes("203.0.113.1"),
    port: 9,
    protocol: 6,
    serviceId: 1,
    flags: 1,
  });
  expect(() =>
    port.putFrontend({ address: addressBytes("203.0.113.2"), port: 1, protocol: 6, serviceId: 1, flags: 1 }),
  ).toThrow(MapFailure);
  expect(audit(programmer).total).toBe(2);
  expect(mapLines(port)).toEqual(lines);
});

test("what an earlier agent left is compared with what was found", async () => {
  const { memory } = await programmed();
  const port = new MemoryMaps(memory);
  const programmer = await Programmer.start(port, options);
  const lines = mapLines(port);
  expect(audit(programmer).total).toBe(0);
  const pick = random(5);
  for (let n = 0; n < 30; n++) damage(memory, pick);
  expect(audit(programmer).total).toBeGreaterThan(10);
  expect(mapLines(port)).toEqual(lines);
});
