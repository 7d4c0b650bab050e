// SPDX-License-Identifier: Apache-2.0
// What a history must end in: the maps of a program that never saw anything but its last step.

import { expect } from "vitest";
import type { Unit } from "../../src/compile/unit.ts";
import { Programmer, type ProgrammerOptions } from "../../src/program/programmer.ts";
import { readTable, type Table } from "./lookup-guard.ts";
import { anyPortLines, mapLines, rangeLines, wantedAnyPorts } from "./map-lines.ts";
import { emptyMemory, frontendText, MemoryMaps, type MemoryState } from "./memory-maps.ts";

export const options: ProgrammerOptions = { bindGuard: (role) => role !== "clusterIP" };

/** The maps as a program that knows only these units writes them. */
export async function freshMaps(units: readonly Unit[]): Promise<MemoryMaps> {
  const port = new MemoryMaps(emptyMemory());
  const programmer = await Programmer.start(port, options);
  programmer.apply({ upserted: units, removed: [] });
  await programmer.settled();
  return port;
}

/** That the maps serve, hold and use what a program that knows only these units would; and nothing is left to do. */
export async function expectEqualToFresh(
  memory: MemoryState,
  programmer: Programmer,
  units: readonly Unit[],
): Promise<void> {
  await programmer.settled();
  const port = new MemoryMaps(memory);
  const fresh = await freshMaps(units);
  expect(mapLines(port)).toEqual(mapLines(fresh));
  expect(anyPortLines(port)).toEqual(wantedAnyPorts(fresh));
  expect(rangeLines(port)).toEqual(rangeLines(fresh));
  expect(memory.names.size).toBe(units.length);
  const endpoints = units.reduce((sum, unit) => sum + unit.endpoints.length / 20, 0);
  expect(programmer.status()).toMatchObject({
    units: units.length,
    endpoints,
    pending: [],
    quarantined: 0,
    failure: null,
  });
  expect(programmer.status().fill).toMatchObject({ services: { used: units.length }, backends: { used: endpoints } });
  const flags = (of: MemoryMaps): string[] =>
    [...of.frontends()].map((row) => `${frontendText(row)} ${row.flags}`).sort();
  expect(flags(port)).toEqual(flags(fresh));
}

/** What lookups find once these units are programmed. */
export async function tableOf(units: readonly Unit[]): Promise<Table> {
  return readTable(await freshMaps(units));
}
