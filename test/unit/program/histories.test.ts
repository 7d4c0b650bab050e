// SPDX-License-Identifier: Apache-2.0
// Random histories: after every single store any lookup finds old or new endpoints and somebody as long as both have
// somebody; nothing a reader may hold is reused; the end is what a fresh program writes. Also with writes that fail.

import { expect, test } from "vitest";
import type { Unit } from "../../../src/compile/unit.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { expectEqualToFresh, options, tableOf } from "../../support/fresh-maps.ts";
import { LookupGuard, readTable } from "../../support/lookup-guard.ts";
import { emptyMemory, failing, MemoryMaps, type MemoryState } from "../../support/memory-maps.ts";
import { fc } from "../../support/property.ts";
import { deltaOf, history } from "../../support/unit-history.ts";

test("every store leaves a table that only old and new members answer from", async () => {
  let stores = 0;
  await fc.assert(
    fc.asyncProperty(history, fc.infiniteStream(fc.boolean()), async (steps, settles) => {
      const memory = emptyMemory();
      const guard = new LookupGuard(memory);
      const port = new MemoryMaps(memory, {
        afterStore: (store) => guard.afterStore(store),
        grace: () => guard.grace(),
      });
      const programmer = await Programmer.start(port, options);
      programmer.allowDeletes();
      let before: Unit[] = [];
      for (const units of steps) {
        const table = await tableOf(units);
        guard.expect(table);
        const report = programmer.apply(deltaOf(before, units));
        expect(report.refused).toEqual([]);
        // Source ranges go after a grace period.
        guard.expect({ ...readTable(port), admissions: table.admissions });
        if (settles.next().value) await programmer.settled();
        before = units;
      }
      await expectEqualToFresh(memory, programmer, before);
      expect(guard.violations).toEqual([]);
      stores += guard.stores;
    }),
    { numRuns: 200 },
  );
  expect(stores).toBeGreaterThan(5_000);
});

/** Keys of frontends that a refused unit wants or has: the only ones that may be without an answer for a while. */
function excused(units: readonly Unit[], memory: MemoryState, refused: ReadonlySet<string>): Set<string> {
  const keys = new Set<string>();
  const names = new Map(memory.names);
  for (const [text, row] of memory.frontends) {
    const name = names.get(row.serviceId);
    if (name !== undefined && [...refused].some((key) => key.startsWith(`${name.name}/`))) keys.add(text);
  }
  for (const unit of units.filter(({ key }) => refused.has(key))) {
    for (const { role, address, port } of unit.frontends) {
      keys.add(`${role === "nodePort" ? "0.0.0.0" : address}|${port}|${unit.protocol}`);
    }
  }
  return new Set([...keys].flatMap((key) => [`node ${key}`, `outside ${key}`]));
}

test("with failing writes a unit is programmed whole or stays as it was, and all come right in the end", async () => {
  let failures = 0;
  await fc.assert(
    fc.asyncProperty(history, fc.integer(), async (steps, seed) => {
      const memory = emptyMemory();
      const fails = failing(seed);
      const guard = new LookupGuard(memory);
      const port = new MemoryMaps(memory, {
        fails: () => fails() && ++failures > 0,
        afterStore: (store) => guard.afterStore(store),
        grace: () => guard.grace(),
      });
      const programmer = await Programmer.start(port, options);
      programmer.allowDeletes();
      let before: Unit[] = [];
      for (const units of steps) {
        const delta = deltaOf(before, units);
        const pending = programmer.status().pending.map(({ key }) => key);
        const touched = new Set([...delta.upserted.map(({ key }) => key), ...delta.removed, ...pending]);
        guard.expect(await tableOf(units), excused([...before, ...units], memory, touched));
        programmer.apply(delta);
        before = units;
      }
      for (let round = 0; round < 200; round++) {
        await programmer.settled();
        const { pending, failure, quarantined } = programmer.status();
        if (pending.length === 0 && failure === null && quarantined === 0) break;
        programmer.retry();
      }
      await expectEqualToFresh(memory, programmer, before);
      expect(guard.violations).toEqual([]);
    }),
    { numRuns: 200 },
  );
  expect(failures).toBeGreaterThan(500);
});
