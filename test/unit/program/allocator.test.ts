// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from "vitest";
import { ExtentAllocator, extentSize, IdAllocator } from "../../../src/program/allocator.ts";
import { fc } from "../../support/property.ts";

describe("extentSize", () => {
  test("at most a quarter is slack, and a size is its own class", () => {
    for (let count = 1; count < 70_000; count++) {
      const size = extentSize(count);
      expect(size >= count && size <= Math.ceil(count * 1.25)).toBe(true);
      expect(extentSize(size)).toBe(size);
      expect(extentSize(count + 1) >= size).toBe(true);
    }
  });
});

describe("IdAllocator", () => {
  test("gives ids from 1, low ones first, and 0 when there is none", () => {
    const ids = new IdAllocator(4);
    expect([ids.allocate(), ids.allocate(), ids.allocate(), ids.allocate()]).toEqual([1, 2, 3, 0]);
    ids.release(2);
    expect(ids.used).toBe(2);
    expect(ids.allocate()).toBe(2);
  });

  test("a reserved id is not given out; one that cannot be is refused", () => {
    const ids = new IdAllocator(4);
    expect([ids.reserve(2), ids.reserve(2), ids.reserve(0), ids.reserve(4)]).toEqual([true, false, false, false]);
    expect([ids.allocate(), ids.allocate(), ids.allocate()]).toEqual([1, 3, 0]);
  });

  test("an id released twice ends the process, not the table", () => {
    const ids = new IdAllocator(4);
    ids.release(ids.allocate());
    expect(() => ids.release(1)).toThrow(RangeError);
  });
});

/** Slots of a run, marked; throws if one is marked already. */
function mark(slots: Uint8Array, { base, count }: { base: number; count: number }, value: 0 | 1): void {
  for (let slot = base; slot < base + extentSize(count); slot++) {
    if (slot >= slots.length || slots[slot] === value) throw new Error(`slot ${slot} twice`);
    slots[slot] = value;
  }
}

describe("ExtentAllocator", () => {
  test("runs never overlap, and when all are back there is one again", () => {
    const step = fc.record({ allocate: fc.boolean(), count: fc.integer({ min: 1, max: 300 }), which: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const allocator = new ExtentAllocator(4096);
        const slots = new Uint8Array(4096);
        const live: { base: number; count: number }[] = [];
        for (const { allocate, count, which } of steps) {
          if (allocate || live.length === 0) {
            const base = allocator.allocate(count);
            if (base < 0) continue;
            live.push({ base, count });
            mark(slots, { base, count }, 1);
            expect(allocator.end).toBeGreaterThanOrEqual(base + extentSize(count));
          } else {
            const [run] = live.splice(which % live.length, 1);
            if (run === undefined) continue;
            mark(slots, run, 0);
            allocator.release(run.base, run.count);
          }
          expect(allocator.used).toBe(slots.reduce((sum, slot) => sum + slot, 0));
        }
        for (const run of live) allocator.release(run.base, run.count);
        expect(allocator.used).toBe(0);
        expect(allocator.allocate(4096)).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  test("reserved runs are not given out; what overlaps or lies outside is refused", () => {
    const allocator = new ExtentAllocator(64);
    const bad = [
      { base: 14, count: 4 },
      { base: 60, count: 8 },
    ];
    expect(allocator.reserveAll([...bad, { base: 12, count: 4 }, { base: 40, count: 8 }])).toEqual(bad);
    expect(allocator.used).toBe(12);
    const bases = Array.from({ length: 52 }, () => allocator.allocate(1)).sort((a, b) => a - b);
    const free = Array.from({ length: 64 }, (_, slot) => slot).filter(
      (slot) => !(slot >= 12 && slot < 16) && !(slot >= 40 && slot < 48),
    );
    expect(bases).toEqual(free);
    expect(allocator.allocate(1)).toBe(-1);
  });

  test("10,000 Services of 25 endpoints with both sets, rolled over ten times, fit a million slots", () => {
    const allocator = new ExtentAllocator(1 << 20);
    const runs = Array.from({ length: 20_000 }, () => ({ base: allocator.allocate(25), count: 25 }));
    let seed = 1;
    for (let change = 0; change < 200_000; change++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const run = runs[seed % runs.length];
      if (run === undefined) continue;
      const count = 20 + ((seed >>> 16) % 11);
      const base = allocator.allocate(count);
      expect(base).toBeGreaterThanOrEqual(0);
      allocator.release(run.base, run.count);
      Object.assign(run, { base, count });
    }
  });
});
