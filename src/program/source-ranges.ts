// SPDX-License-Identifier: Apache-2.0
// The rows of pt_src_ranges. What a unit gains is there before the frontend row that demands it; what it loses stays
// until every lookup has ended that may have read a row from before. So a lookup between the two finds the old ranges
// or both, and no source that neither has.

import type { Unit } from "../compile/unit.ts";
import { FRONTEND } from "../datapath/layout.ts";
import type { MapPort, SourceRange } from "../datapath/port.ts";
import { familyOf, formatCidr, parseCidr } from "../model/address.ts";
import { sameItems } from "../model/equal.ts";
import type { UnitState } from "./unit-state.ts";

/** A prefix out of use, of a service or of an id that nobody can have. */
export interface LeavingRange {
  readonly range: SourceRange;
  readonly prefix: string;
}

/** One unit's part in an apply(). What it takes out of use is added to `retired`. */
export interface RangeChange {
  readonly unit: Unit;
  readonly state: UnitState;
  /** Prefixes that this change has taken into use. */
  readonly gained: string[];
  /** Why the unit is not programmed, in words. */
  failure: string | null;
  stuck: boolean;
}

const NONE: readonly string[] = [];

function prefixesOf(unit: Unit): readonly string[] {
  return unit.sourceRanges?.prefixes ?? NONE;
}

/** Whether the map holds the unit's prefixes and no other of its. */
export function hasRanges(state: UnitState, unit: Unit): boolean {
  return sameItems(state.ranges, prefixesOf(unit));
}

/** Those of `prefixes` that are not among `others`, in order. */
function without(prefixes: readonly string[], others: readonly string[]): readonly string[] {
  if (prefixes.length === 0 || others.length === 0) return prefixes;
  const known = new Set(others);
  return prefixes.filter((prefix) => !known.has(prefix));
}

/** The prefix of a row as a unit names it. */
export function prefixText({ address, bits }: SourceRange): string {
  const family = bits < 96 ? 6 : familyOf(address);
  const text = formatCidr({ family, bytes: address, bits });
  const masked = parseCidr(text);
  return masked === null ? text : formatCidr(masked);
}

export class SourceRangeWriter {
  readonly #port: MapPort;
  /** By "id prefix"; one that is taken into use again meanwhile is no longer in here. */
  readonly #leaving = new Map<string, LeavingRange>();
  #used = 0;

  constructor(port: MapPort) {
    this.#port = port;
  }

  /** Prefixes in the map. */
  get used(): number {
    return this.#used;
  }

  /** Whether the prefix is out of use and waits for its grace period. */
  isLeaving(serviceId: number, prefix: string): boolean {
    return this.#leaving.has(keyOf(serviceId, prefix));
  }

  /** What was found at start: a unit's; and what no row demands, or nobody can have, which leaves. */
  adopt(states: Iterable<UnitState>, stray: readonly SourceRange[]): LeavingRange[] {
    const leaving = stray.map((range) => this.#leave(range, prefixText(range)));
    this.#used += stray.length;
    for (const state of states) {
      this.#used += state.ranges.length;
      if (!demandsRanges(state)) this.retire(state, leaving);
    }
    return leaving;
  }

  /** How many prefixes the unit would add. */
  missing(unit: Unit, existing: UnitState | undefined): number {
    return without(prefixesOf(unit), existing?.ranges ?? NONE).length;
  }

  /** Writes the prefixes that the unit gains. Sets `failure` where that did not work. */
  put(change: RangeChange): void {
    const { serviceId, ranges } = change.state;
    if (change.unit.sourceRanges !== null && !demandsRanges(change.state)) this.#hurry(change);
    if (change.failure !== null) return;
    for (const prefix of without(prefixesOf(change.unit), ranges)) {
      try {
        if (!this.#leaving.delete(keyOf(serviceId, prefix))) this.#write(serviceId, prefix);
      } catch (error) {
        change.failure = `source range ${prefix}: ${(error as Error).message}`;
        return;
      }
      change.gained.push(prefix);
    }
  }

  /**
   * Rows that demand ranges come to a unit that has none: those that are still leaving would let in whom neither the old
   * rows nor the new ones admit, and go at once. Whoever has read an old row is turned away, as it will be.
   */
  #hurry(change: RangeChange): void {
    const { serviceId } = change.state;
    const wanted = new Set(prefixesOf(change.unit));
    try {
      for (const leaving of this.#leaving.values()) {
        if (leaving.range.serviceId === serviceId && !wanted.has(leaving.prefix)) this.remove(leaving);
      }
    } catch (error) {
      change.failure = `an old source range not deleted: ${(error as Error).message}`;
    }
  }

  /** The unit's prefixes become its state. Where rows are stuck, some may still demand the old ones: they stay too. */
  finish({ unit, state, stuck }: RangeChange, retired: LeavingRange[]): void {
    const wanted = prefixesOf(unit);
    const left = without(state.ranges, wanted);
    state.ranges = stuck ? [...left, ...wanted].sort() : wanted;
    if (!stuck) this.#leaveAll(state.serviceId, left, retired);
  }

  /** Undoes put(). */
  revert({ state, gained }: RangeChange, retired: LeavingRange[]): void {
    this.#leaveAll(state.serviceId, gained, retired);
  }

  /** The unit goes. */
  retire(state: UnitState, retired: LeavingRange[]): void {
    this.#leaveAll(state.serviceId, state.ranges, retired);
    state.ranges = NONE;
  }

  /** After the grace period; throws BpfError. */
  remove(leaving: LeavingRange): void {
    const key = keyOf(leaving.range.serviceId, leaving.prefix);
    if (this.#leaving.get(key) !== leaving) return;
    this.#port.deleteSourceRange(leaving.range);
    this.#leaving.delete(key);
    this.#used--;
  }

  #leaveAll(serviceId: number, prefixes: readonly string[], retired: LeavingRange[]): void {
    for (const prefix of prefixes) retired.push(this.#leave(rangeOf(serviceId, prefix), prefix));
  }

  #leave(range: SourceRange, prefix: string): LeavingRange {
    const leaving = { range, prefix };
    this.#leaving.set(keyOf(range.serviceId, prefix), leaving);
    return leaving;
  }

  #write(serviceId: number, prefix: string): void {
    this.#port.putSourceRange(rangeOf(serviceId, prefix));
    this.#used++;
  }
}

function demandsRanges({ rows }: UnitState): boolean {
  return rows.some(({ flags }) => (flags & FRONTEND.SOURCE_RANGES) !== 0);
}

function keyOf(serviceId: number, prefix: string): string {
  return `${serviceId} ${prefix}`;
}

/** The row of a unit's prefix. */
export function rangeOf(serviceId: number, prefix: string): SourceRange {
  const cidr = parseCidr(prefix);
  if (cidr === null) throw new RangeError(`${prefix} is no prefix`);
  return { serviceId, address: cidr.bytes, bits: cidr.bits };
}
