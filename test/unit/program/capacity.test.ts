// SPDX-License-Identifier: Apache-2.0
// Maps that are full: a unit is refused whole, by name, with its reason; no other is touched; it comes by itself when
// there is room.

import { expect, test } from "vitest";
import type { Capacity } from "../../../src/datapath/port.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import type { ApplyReport } from "../../../src/program/status.ts";
import { options } from "../../support/fresh-maps.ts";
import { mapLines } from "../../support/map-lines.ts";
import { emptyMemory, MemoryMaps } from "../../support/memory-maps.ts";
import { frontend, makeUnit } from "../../support/units.ts";

const hosts = (net: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.1.${net}.${i + 1}:80`);
const unit = (n: number, endpoints: number) =>
  makeUnit({
    name: `a/s${n}:p`,
    clusterIp: `10.96.0.${n}`,
    endpoints: hosts(n, endpoints),
    sourceRanges: { allowHost: false, allowPods: false, prefixes: [`10.${n}.0.0/16`, `10.${n}.1.0/24`] },
  });

async function startWith(capacity: Partial<Capacity>) {
  const memory = emptyMemory(capacity);
  const port = new MemoryMaps(memory);
  const retries: ApplyReport[] = [];
  const programmer = await Programmer.start(port, { ...options, onRetry: (report) => retries.push(report) });
  programmer.allowDeletes();
  return { memory, port, programmer, retries };
}

const CASES: readonly [string, Partial<Capacity>, string][] = [
  ["service ids", { services: 3 }, "pt_services is full: 2 of 2 ids in use"],
  ["backend ids", { backends: 11 }, "pt_backends is full: 5 of 10 ids wanted, 10 in use"],
  ["slots", { slots: 12 }, "pt_slots has no run of 5 free slots: 10 of 12 in use"],
  ["source ranges", { sourceRanges: 5 }, "pt_src_ranges is full: 2 prefixes wanted, 4 of 5 in use"],
  ["frontends", { frontends: 5 }, "pt_frontends is full: 2 rows wanted, 4 of 5 in use"],
];

test.each(CASES)(
  "no %s left: refused whole, named, untouched the others, programmed when one goes",
  async (_, capacity, reason) => {
    const { memory, port, programmer, retries } = await startWith(capacity);
    const report = programmer.apply({ upserted: [unit(1, 5), unit(2, 5), unit(3, 5)], removed: [] });
    expect(report).toMatchObject({
      added: 2,
      refused: [{ key: "a/s3:p/TCP/4", name: "a/s3:p", action: "program", reason }],
    });
    expect(programmer.status().pending).toEqual(report.refused);
    expect(mapLines(port).map((line) => line.split(" ")[0])).toEqual(["a/s1:p", "a/s2:p"]);
    expect([...memory.names.values()].map(({ name }) => name)).toEqual(["a/s1:p", "a/s2:p"]);
    expect(memory.sourceRanges.size).toBe(4);
    const writes = port.writes;
    expect(programmer.apply({ upserted: [unit(1, 5)], removed: [] })).toMatchObject({ unchanged: 1, refused: [] });
    expect(port.writes).toBe(writes);

    programmer.apply({ upserted: [], removed: [unit(1, 5).key] });
    await programmer.settled();
    expect(programmer.status().pending).toEqual([]);
    expect(retries.at(-1)).toMatchObject({ added: 1 });
    expect(mapLines(port).map((line) => line.split(" ")[0])).toEqual(["a/s2:p", "a/s3:p"]);
  },
);

test("a unit that cannot grow stays as it was", async () => {
  const { port, programmer } = await startWith({ backends: 11 });
  programmer.apply({ upserted: [unit(1, 5), unit(2, 5)], removed: [] });
  const before = mapLines(port);
  const report = programmer.apply({ upserted: [unit(2, 7)], removed: [] });
  expect(report.refused).toMatchObject([{ reason: "pt_backends is full: 2 of 10 ids wanted, 10 in use" }]);
  expect(report.writes).toBe(0);
  expect(mapLines(port)).toEqual(before);
  expect([...programmer.units()].map(({ condition }) => condition)).toEqual(["programmed", "pending"]);
});

test("a refused unit that is no longer wanted is forgotten", async () => {
  const { programmer } = await startWith({ services: 2 });
  programmer.apply({ upserted: [unit(1, 1), unit(2, 1)], removed: [] });
  expect(programmer.status().pending).toHaveLength(1);
  programmer.apply({ upserted: [], removed: [unit(2, 1).key] });
  expect(programmer.status().pending).toEqual([]);
});

test("the kernel finds the map full before we do: rows of the unit go back, those of others stay", async () => {
  const { memory, port, programmer } = await startWith({ frontends: 6 });
  const foreign = { address: new Uint8Array(16).fill(9), port: 1, protocol: 6, serviceId: 0, flags: 0 } as const;
  memory.frontends.set("foreign", foreign);
  const wide = makeUnit({
    name: "a/wide:p",
    clusterIp: "10.96.0.9",
    endpoints: hosts(9, 2),
    frontends: [1, 2, 3].map((n) => frontend("externalIP", `192.0.2.${n}`, 80)),
  });
  const report = programmer.apply({ upserted: [unit(1, 1), wide], removed: [] });
  expect(report).toMatchObject({
    added: 1,
    refused: [{ name: "a/wide:p", reason: expect.stringContaining("pt_frontends is full") }],
  });
  expect(mapLines(port).map((line) => line.split(" ")[0])).toEqual(["a/s1:p"]);
  await programmer.settled();
  expect(programmer.status().fill).toMatchObject({ services: { used: 1 }, backends: { used: 1 }, slots: { used: 1 } });
  memory.frontends.delete("foreign");
  programmer.apply({ upserted: [], removed: [unit(1, 1).key] });
  await programmer.settled();
  expect(programmer.retry().added + programmer.status().units).toBeGreaterThan(0);
  expect(mapLines(port)).toHaveLength(4);
});
