// SPDX-License-Identifier: Apache-2.0
// What has to be done to one unit, with everything it needs already taken: ids, slots, room for rows. Writes nothing;
// a plan that is not carried out is given back.

import type { Unit } from "../compile/unit.ts";
import type { MapPort } from "../datapath/port.ts";
import type { ExtentAllocator, IdAllocator } from "./allocator.ts";
import { type BindGuard, type FrontendTable, rowsOf } from "./frontend-table.ts";
import type { RowChange } from "./row-writer.ts";
import { type Allocators, dropPlan, planSets, type ReadSlots, setsAreCurrent } from "./set-plan.ts";
import { hasRanges, type RangeChange, type SourceRangeWriter } from "./source-ranges.ts";
import { DAMAGED, type FrontendSpec, REJECTED, type UnitState } from "./unit-state.ts";
import type { SetChange } from "./unit-writer.ts";

export interface Change extends SetChange, RowChange, RangeChange {
  /** All rows the unit should have. */
  readonly wanted: readonly FrontendSpec[];
}

const NO_ENDPOINTS = new Uint8Array(0);
const NO_IDS: readonly number[] = [];
const NO_RANGES: readonly string[] = [];

export interface Resources {
  readonly services: IdAllocator;
  readonly backends: IdAllocator;
  readonly slots: ExtentAllocator;
}

interface Parts {
  readonly table: FrontendTable;
  readonly resources: Resources;
  readonly ranges: SourceRangeWriter;
  readonly bindGuard: BindGuard;
}

export class Planner {
  readonly #port: MapPort;
  readonly #table: FrontendTable;
  readonly #resources: Resources;
  readonly #bindGuard: BindGuard;
  readonly #ranges: SourceRangeWriter;
  readonly #from: Allocators & { readonly read: ReadSlots };
  /** Rows that the plans of this round will add, and the "any port" addresses among them. */
  #rows = 0;
  #addresses = new Set<string>();
  /** Prefixes that they will add. */
  #prefixes = 0;

  constructor(port: MapPort, parts: Parts) {
    this.#port = port;
    this.#table = parts.table;
    this.#resources = parts.resources;
    this.#bindGuard = parts.bindGuard;
    this.#ranges = parts.ranges;
    const { backends, slots } = parts.resources;
    this.#from = { backends, slots, read: (base, count) => port.slots(base, count) };
  }

  /** All plans so far are carried out or given back. */
  begin(): void {
    this.#rows = 0;
    this.#addresses = new Set();
    this.#prefixes = 0;
  }

  /** null: the kernel has the unit as it is. Text: what there is no room for; then nothing is taken. */
  plan(unit: Unit, existing: UnitState | undefined): Change | string | null {
    const rows = rowsOf(unit, this.#bindGuard);
    const setsCurrent = existing !== undefined && setsAreCurrent(existing, unit);
    const puts = existing === undefined ? rows : rows.filter((row) => !this.#isOwn(row, existing));
    const missing = this.#table.missingAnyPort(rows);
    if (existing !== undefined && setsCurrent && puts.length === 0 && missing.length === 0) {
      const same = existing.rows.length === rows.length && existing.affinitySec === unit.affinitySec;
      if (same && hasRanges(existing, unit)) return null;
    }
    const refusal = this.#takeRows(puts, missing) ?? this.#takePrefixes(unit, existing);
    if (refusal !== null) return refusal;
    const state = existing ?? this.#freshState(unit);
    if (state === null) {
      const { used, limit } = this.#resources.services;
      return `pt_services is full: ${used} of ${limit} ids in use`;
    }
    const sets = setsCurrent ? null : planSets(state, unit, this.#from);
    const fresh = existing === undefined;
    if (typeof sets === "string") {
      if (fresh) this.#resources.services.release(state.serviceId);
      return sets;
    }
    return { unit, state, fresh, sets, puts, wanted: rows, written: [], gained: [], failure: null, stuck: false };
  }

  /** Gives back what a plan took; only while nothing of it was written. */
  discard({ fresh, state, sets }: Change): void {
    if (sets !== null) dropPlan(sets, this.#resources);
    if (fresh) this.#resources.services.release(state.serviceId);
  }

  #isOwn(row: FrontendSpec, state: UnitState): boolean {
    const found = this.#table.get(row.key);
    return found !== undefined && found.owner === state && found.row.flags === row.flags;
  }

  /** Why the map has no room for the rows that are new; null if it has, and they are counted. */
  #takeRows(puts: readonly FrontendSpec[], missing: readonly string[]): string | null {
    let rows = 0;
    for (const row of puts) if (this.#table.get(row.key) === undefined) rows++;
    for (const address of missing) if (!this.#addresses.has(address)) rows++;
    const used = this.#table.size + this.#rows;
    const { frontends } = this.#port.capacity;
    if (rows > 0 && used + rows > frontends) {
      return `pt_frontends is full: ${rows} rows wanted, ${used} of ${frontends} in use`;
    }
    this.#rows += rows;
    for (const address of missing) this.#addresses.add(address);
    return null;
  }

  #takePrefixes(unit: Unit, existing: UnitState | undefined): string | null {
    const missing = this.#ranges.missing(unit, existing);
    const used = this.#ranges.used + this.#prefixes;
    const { sourceRanges } = this.#port.capacity;
    if (missing > 0 && used + missing > sourceRanges) {
      return `pt_src_ranges is full: ${missing} prefixes wanted, ${used} of ${sourceRanges} in use`;
    }
    this.#prefixes += missing;
    return null;
  }

  /** What an unused id's words say is of no meaning to anyone: anything but "nobody" is written over. */
  #freshState(unit: Unit): UnitState | null {
    const serviceId = this.#resources.services.allocate();
    if (serviceId === 0) return null;
    const { key, name, family, protocol } = unit;
    const row = this.#port.service(serviceId);
    const extents = { cluster: row.cluster === 0n ? REJECTED : DAMAGED, local: row.local === 0n ? REJECTED : DAMAGED };
    return {
      key,
      serviceId,
      name,
      family,
      protocol,
      endpoints: NO_ENDPOINTS,
      backendIds: NO_IDS,
      extents,
      stale: 0,
      affinitySec: row.affinitySec,
      ranges: NO_RANGES,
      rows: [],
      unclaimed: false,
    };
  }
}
