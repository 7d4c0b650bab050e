// SPDX-License-Identifier: Apache-2.0
// The maps read back into units: what an agent adopts at its start and what the command line shows without one.
// Reads only. Whatever a crash after any single store, or someone's hand, left behind is told apart here.

import { setImmediate as turn } from "node:timers/promises";
import { ENDPOINT_STRIDE, unitKey } from "../compile/unit.ts";
import { parseExtentWord } from "../datapath/extent.ts";
import { ALGORITHM } from "../datapath/layout.ts";
import type { MapPort, NameRow, ServiceRow, SourceRange } from "../datapath/port.ts";
import { formatAddress } from "../model/address.ts";
import { extentSize, type SlotRun } from "./allocator.ts";
import { isRetired } from "./backend-book.ts";
import { specOf } from "./frontend-table.ts";
import { compareEndpoints, flagsAt } from "./set-plan.ts";
import { prefixText } from "./source-ranges.ts";
import {
  DAMAGED,
  type Extent,
  type FrontendSpec,
  SET_NAMES,
  SETS,
  type SetName,
  type UnitState,
} from "./unit-state.ts";

export interface Recovered {
  /** By key. Rows are those of pt_frontends; each row is in exactly one unit. */
  readonly units: ReadonlyMap<string, UnitState>;
  /** Addresses with an "any port" row. */
  readonly anyPort: readonly string[];
  /** Backend ids that no unit has and that were not retired to the end: out of use, then quarantine. */
  readonly strayBackends: readonly number[];
  /** Retired backend ids whose connection counter is not zero yet. */
  readonly countedBackends: readonly number[];
  /** Of ids that no unit can have, or of no whole id. */
  readonly strayRanges: readonly SourceRange[];
  /** Names under ids that pt_services does not have. */
  readonly strayNames: readonly number[];
  /** Nothing was ever written: no grace period is needed before the first id is given out. */
  readonly virgin: boolean;
}

interface Backends {
  readonly byService: ReadonlyMap<number, number[]>;
  readonly stray: number[];
  readonly counted: number[];
  readonly any: boolean;
}

/** Units and backends that are read in one step. */
const UNITS = 256;
const BACKENDS = 1 << 14;
const SLICE_MS = 10;

/** readingUnits() to its end. */
export function readUnits(port: MapPort): Recovered {
  const reading = readingUnits(port);
  for (;;) {
    const step = reading.next();
    if (step.done) return step.value;
  }
}

/** Much is read while nothing else has to wait for it. */
export async function readInSlices(port: MapPort): Promise<Recovered> {
  const reading = readingUnits(port);
  for (let startMs = performance.now(); ; ) {
    const step = reading.next();
    if (step.done) return step.value;
    if (performance.now() - startMs < SLICE_MS) continue;
    await turn();
    startMs = performance.now();
  }
}

/**
 * Some milliseconds at a time, while nobody else writes. Units whose name is lost, or taken by another id, are kept under
 * "#ID" until they may be deleted.
 */
function* readingUnits(port: MapPort): Generator<void, Recovered> {
  const names = new Map<number, NameRow>();
  const strayNames: number[] = [];
  for (const [id, name] of port.names()) {
    if (id > 0 && id < port.capacity.services) names.set(id, name);
    else strayNames.push(id);
  }
  yield;
  const { rows, anyPort } = readRows(port);
  yield;
  const { ranges, strayRanges } = readRanges(port);
  const ids = [...new Set([...names.keys(), ...rows.keys(), ...ranges.keys()])];
  const backends = yield* readBackends(port, new Set(ids));
  const units = new Map<string, UnitState>();
  for (const id of preferred(ids, rows)) {
    const unit = readUnit(port, id, {
      name: names.get(id),
      rows: rows.get(id) ?? [],
      backendIds: backends.byService.get(id) ?? [],
      ranges: ranges.get(id) ?? [],
    });
    const key = unit.key === "" || units.has(unit.key) ? `#${id}` : unit.key;
    units.set(key, { ...unit, key });
    if (units.size % UNITS === 0) yield;
  }
  dropOverlaps(units.values(), port.capacity.slots);
  return {
    units,
    anyPort,
    strayBackends: backends.stray,
    countedBackends: backends.counted,
    strayRanges,
    strayNames,
    virgin: ids.length === 0 && anyPort.length === 0 && !backends.any,
  };
}

/** Of two ids with one name, the one that rows lead to is the unit: the other was on its way out. */
function preferred(ids: readonly number[], rows: ReadonlyMap<number, FrontendSpec[]>): number[] {
  return ids.toSorted((a, b) => Number(rows.has(b)) - Number(rows.has(a)) || a - b);
}

function readRows(port: MapPort): { rows: Map<number, FrontendSpec[]>; anyPort: string[] } {
  const rows = new Map<number, FrontendSpec[]>();
  const anyPort: string[] = [];
  for (const row of port.frontends()) {
    const spec = specOf(row);
    if (spec === null) {
      anyPort.push(formatAddress(row.address));
      continue;
    }
    const id = row.serviceId < port.capacity.services ? row.serviceId : 0;
    const list = rows.get(id);
    if (list === undefined) rows.set(id, [spec]);
    else list.push(spec);
  }
  return { rows, anyPort };
}

function readRanges(port: MapPort): { ranges: Map<number, string[]>; strayRanges: SourceRange[] } {
  const ranges = new Map<number, string[]>();
  const strayRanges: SourceRange[] = [];
  for (const range of port.sourceRanges()) {
    const { serviceId, bits } = range;
    if (bits < 0 || serviceId === 0 || serviceId >= port.capacity.services) {
      strayRanges.push(range);
      continue;
    }
    const list = ranges.get(serviceId);
    if (list === undefined) ranges.set(serviceId, [prefixText(range)]);
    else list.push(prefixText(range));
  }
  for (const list of ranges.values()) list.sort();
  return { ranges, strayRanges };
}

/** A live backend has an even generation, flags, and a service that is there. */
function* readBackends(port: MapPort, services: ReadonlySet<number>): Generator<void, Backends> {
  const byService = new Map<number, number[]>();
  const stray: number[] = [];
  const counted: number[] = [];
  let any = false;
  for (const id of port.usedBackends()) {
    any = true;
    if (id % BACKENDS === 0) yield;
    const service = port.backendService(id);
    const flags = port.backendFlags(id);
    if (isRetired(port.backendGeneration(id)) && flags === 0) {
      if (port.active(id) !== 0n) counted.push(id);
    } else if (
      flags === 0 ||
      id === 0 ||
      service === 0 ||
      !services.has(service) ||
      isRetired(port.backendGeneration(id))
    ) {
      if (id !== 0) stray.push(id);
    } else {
      const list = byService.get(service);
      if (list === undefined) byService.set(service, [id]);
      else list.push(id);
    }
  }
  return { byService, stray, counted, any };
}

interface Parts {
  readonly name: NameRow | undefined;
  readonly rows: FrontendSpec[];
  readonly backendIds: number[];
  readonly ranges: readonly string[];
}

function readUnit(port: MapPort, serviceId: number, { name, rows, backendIds, ranges }: Parts): UnitState {
  const { endpoints, ids } = readEndpoints(port, backendIds);
  const row: ServiceRow = serviceId === 0 ? { cluster: 0n, local: 0n, affinitySec: 0 } : port.service(serviceId);
  const first = rows[0];
  const cluster = readExtent(port, row.cluster, { set: "cluster", endpoints, ids });
  const local = readExtent(port, row.local, { set: "local", endpoints, ids });
  return {
    key: name === undefined ? "" : unitKey(name.name, name.protocol, name.family),
    serviceId,
    name: name?.name ?? "",
    family: name?.family ?? (first === undefined || !first.address.includes(":") ? 4 : 6),
    protocol: name?.protocol ?? first?.protocol ?? 6,
    endpoints,
    backendIds: ids,
    extents: { cluster: cluster.extent, local: local.extent },
    stale: (cluster.whole ? 0 : SETS.cluster) | (local.whole ? 0 : SETS.local),
    affinitySec: row.affinitySec,
    ranges,
    rows,
    unclaimed: true,
  };
}

/** In the order of Unit.endpoints. */
function readEndpoints(port: MapPort, backendIds: readonly number[]): { endpoints: Uint8Array; ids: number[] } {
  const found = new Uint8Array(backendIds.length * ENDPOINT_STRIDE);
  backendIds.forEach((id, i) => {
    port.copyEndpoint(id, found, i * ENDPOINT_STRIDE);
  });
  const order = Array.from(backendIds, (_, i) => i).sort((a, b) => compareEndpoints(found, a, found, b));
  const endpoints = new Uint8Array(found.length);
  const ids = new Array<number>(order.length).fill(0);
  order.forEach((from, to) => {
    endpoints.set(found.subarray(from * ENDPOINT_STRIDE, (from + 1) * ENDPOINT_STRIDE), to * ENDPOINT_STRIDE);
    ids[to] = backendIds[from] ?? 0;
  });
  return { endpoints, ids };
}

interface Members {
  readonly set: SetName;
  readonly endpoints: Uint8Array;
  readonly ids: readonly number[];
}

/** The extent of a word; whole if it holds each of the set's backends once and nothing else. */
function readExtent(port: MapPort, word: bigint, { set, endpoints, ids }: Members): { extent: Extent; whole: boolean } {
  const { base, count, algorithm } = parseExtentWord(word);
  const empty = algorithm === ALGORITHM.REJECT || algorithm === ALGORITHM.DROP;
  const size = count === 0 ? 0 : extentSize(count);
  if (empty !== (count === 0) || algorithm > ALGORITHM.MAGLEV || base + size > port.capacity.slots) {
    return { extent: DAMAGED, whole: false };
  }
  const members = new Set(ids.filter((_, i) => (flagsAt(endpoints, i) & SETS[set]) !== 0));
  const complete = members.size === count;
  const whole = complete && (count === 0 || port.slots(base, count).every((id) => members.delete(id)));
  return { extent: { base, count, algorithm, limit: count }, whole };
}

/** No two extents may share slots: of those that do, all but one are not ours to free. */
function dropOverlaps(units: Iterable<UnitState>, capacity: number): void {
  const runs: (SlotRun & { unit: UnitState; set: SetName })[] = [];
  for (const unit of units) {
    for (const set of SET_NAMES) {
      const { base, count } = unit.extents[set];
      if (count > 0) runs.push({ base, count, unit, set });
    }
  }
  let end = 0;
  for (const { base, count, unit, set } of runs.sort((a, b) => a.base - b.base)) {
    if (base < end || base + extentSize(count) > capacity) {
      unit.stale |= SETS[set];
      unit.extents[set] = DAMAGED;
    } else {
      end = base + extentSize(count);
    }
  }
}
