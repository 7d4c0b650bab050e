// SPDX-License-Identifier: Apache-2.0
// The difference between the endpoints a unit has and those it should have: ids for the new ones and, where a set's
// members change, an extent. Takes ids and slots from the allocators, or nothing at all; writes nothing.

import { ENDPOINT_STRIDE, type Unit } from "../compile/unit.ts";
import { ALGORITHM } from "../datapath/layout.ts";
import { type ExtentAllocator, extentSize, type IdAllocator } from "./allocator.ts";
import { DROPPED, type Extent, REJECTED, SET_NAMES, SETS, type SetName, type UnitState } from "./unit-state.ts";

const NO_SLOTS = new Uint32Array(0);
const KEY_BYTES = 18;
const FLAGS_AT = 18;

/** A kept endpoint whose flags change. */
export interface FlagChange {
  readonly id: number;
  readonly before: number;
  readonly after: number;
}

/** Slots of the extent in force that get other ids, and those behind it that are taken into use. */
export interface SlotSpan {
  readonly base: number;
  readonly ids: Uint32Array;
  /** What stands in the first of them, those in force. */
  readonly before: Uint32Array;
}

export interface ExtentPlan {
  readonly before: Extent;
  readonly after: Extent;
  /** What is to be written before the word is published: nothing, a span in place, or all of a fresh run. */
  readonly slots: "none" | "all" | SlotSpan;
}

export interface SetPlan {
  readonly endpoints: Uint8Array;
  readonly backendIds: readonly number[];
  /** Indexes into endpoints. */
  readonly added: readonly number[];
  readonly removedIds: readonly number[];
  readonly changed: readonly FlagChange[];
  readonly extents: Readonly<Record<SetName, ExtentPlan>>;
}

export interface Allocators {
  readonly backends: IdAllocator;
  readonly slots: ExtentAllocator;
}

/** The ids that stand in a run of slots: MapPort.slots. */
export type ReadSlots = (base: number, count: number) => Uint32Array;

interface Merge {
  readonly endpoints: Uint8Array;
  readonly backendIds: number[];
  readonly added: number[];
  readonly removedIds: number[];
  readonly changed: FlagChange[];
  /** How many joined each set. */
  readonly joined: Record<SetName, number>;
  /** Ids of those that left it. */
  readonly left: Record<SetName, number[]>;
}

export function flagsAt(endpoints: Uint8Array, index: number): number {
  return endpoints[index * ENDPOINT_STRIDE + FLAGS_AT] ?? 0;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Order of two endpoints by address and port: negative, 0 or positive. */
export function compareEndpoints(a: Uint8Array, aIndex: number, b: Uint8Array, bIndex: number): number {
  const left = aIndex * ENDPOINT_STRIDE;
  const right = bIndex * ENDPOINT_STRIDE;
  for (let i = 0; i < KEY_BYTES; i++) {
    const difference = (a[left + i] ?? 0) - (b[right + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** What an empty set of the unit answers. */
function emptyExtent(unit: Unit, set: SetName): Extent {
  return set === "local" && unit.emptyLocal === "drop" ? DROPPED : REJECTED;
}

/** Whether the kernel has these endpoints, sets and answers already. */
export function setsAreCurrent(state: UnitState, unit: Unit): boolean {
  if (state.stale !== 0 || !sameBytes(state.endpoints, unit.endpoints)) return false;
  return SET_NAMES.every(
    (set) => state.extents[set].count > 0 || state.extents[set].algorithm === emptyExtent(unit, set).algorithm,
  );
}

/** The plan, or in words what there is no room for; then nothing is held. */
export function planSets(
  state: UnitState,
  unit: Unit,
  from: Allocators & { readonly read: ReadSlots },
): SetPlan | string {
  const merge = mergeEndpoints(state, unit.endpoints);
  if (!takeIds(merge, from.backends)) {
    return `pt_backends is full: ${merge.added.length} of ${from.backends.limit} ids wanted, ${from.backends.used} in use`;
  }
  const cluster = planExtent(state, unit, { set: "cluster", merge, from });
  const local = typeof cluster === "string" ? cluster : planExtent(state, unit, { set: "local", merge, from });
  if (typeof cluster === "string" || typeof local === "string") {
    for (const index of merge.added) from.backends.release(merge.backendIds[index] ?? 0);
    if (typeof cluster !== "string") releaseUnpublished(cluster, from.slots);
    return typeof cluster === "string" ? cluster : String(local);
  }
  const { endpoints, backendIds, added, removedIds, changed } = merge;
  return { endpoints, backendIds, added, removedIds, changed, extents: { cluster, local } };
}

/** Gives back what a plan took; only while nothing of it was written. */
export function dropPlan(plan: SetPlan, to: Allocators): void {
  for (const index of plan.added) to.backends.release(plan.backendIds[index] ?? 0);
  releaseUnpublished(plan.extents.cluster, to.slots);
  releaseUnpublished(plan.extents.local, to.slots);
}

/** All ids in a set, in the order of the endpoints. */
export function membersOf({ endpoints, backendIds, extents }: SetPlan, set: SetName): Uint32Array {
  const members = new Uint32Array(extents[set].after.count);
  let next = 0;
  for (let index = 0; index < backendIds.length; index++) {
    if ((flagsAt(endpoints, index) & SETS[set]) !== 0) members[next++] = backendIds[index] ?? 0;
  }
  return members;
}

/** Ids that joined a set. */
function joinedIds({ endpoints, backendIds, added, changed }: Merge, set: SetName): number[] {
  const bit = SETS[set];
  const fresh = added.filter((index) => (flagsAt(endpoints, index) & bit) !== 0).map((index) => backendIds[index] ?? 0);
  const raised = changed.filter(({ before, after }) => (after & ~before & bit) !== 0).map(({ id }) => id);
  return [...fresh, ...raised];
}

function releaseUnpublished(plan: ExtentPlan, slots: ExtentAllocator): void {
  if (plan.slots === "all") slots.release(plan.after.base, plan.after.count);
}

/** Both lists ascend by address and port, so one pass tells kept, added and removed apart. */
function mergeEndpoints(state: UnitState, endpoints: Uint8Array): Merge {
  const oldCount = state.backendIds.length;
  const newCount = endpoints.length / ENDPOINT_STRIDE;
  const merge: Merge = {
    endpoints,
    backendIds: new Array<number>(newCount).fill(0),
    added: [],
    removedIds: [],
    changed: [],
    joined: { cluster: 0, local: 0 },
    left: { cluster: [], local: [] },
  };
  let old = 0;
  for (let index = 0; index < newCount; ) {
    const order = old < oldCount ? compareEndpoints(state.endpoints, old, endpoints, index) : 1;
    if (order < 0) remove(merge, state, old++);
    else if (order > 0) merge.added.push(index++);
    else keep(merge, state, old++, index++);
  }
  while (old < oldCount) remove(merge, state, old++);
  return merge;
}

function remove(merge: Merge, state: UnitState, old: number): void {
  const id = state.backendIds[old] ?? 0;
  merge.removedIds.push(id);
  const flags = flagsAt(state.endpoints, old);
  for (const set of SET_NAMES) if ((flags & SETS[set]) !== 0) merge.left[set].push(id);
}

function keep(merge: Merge, state: UnitState, old: number, index: number): void {
  const id = state.backendIds[old] ?? 0;
  merge.backendIds[index] = id;
  const before = flagsAt(state.endpoints, old);
  const after = flagsAt(merge.endpoints, index);
  if (before === after) return;
  merge.changed.push({ id, before, after });
  for (const set of SET_NAMES) {
    if ((before & ~after & SETS[set]) !== 0) merge.left[set].push(id);
    if ((after & ~before & SETS[set]) !== 0) merge.joined[set]++;
  }
}

/** All ids or none. */
function takeIds(merge: Merge, ids: IdAllocator): boolean {
  const { added, backendIds, endpoints, joined } = merge;
  for (let taken = 0; taken < added.length; taken++) {
    const id = ids.allocate();
    if (id === 0) {
      for (const other of added.slice(0, taken)) ids.release(backendIds[other] ?? 0);
      return false;
    }
    const index = added[taken] ?? 0;
    backendIds[index] = id;
    const flags = flagsAt(endpoints, index);
    if ((flags & SETS.cluster) !== 0) joined.cluster++;
    if ((flags & SETS.local) !== 0) joined.local++;
  }
  return true;
}

function planExtent(
  state: UnitState,
  unit: Unit,
  { set, merge, from }: { set: SetName; merge: Merge; from: Allocators & { readonly read: ReadSlots } },
): ExtentPlan | string {
  const before = state.extents[set];
  const joined = merge.joined[set];
  const left = merge.left[set].length;
  const stale = (state.stale & SETS[set]) !== 0;
  const count = stale ? countMembers(merge.endpoints, set) : before.count + joined - left;
  if (count === 0) return { before, after: emptyExtent(unit, set), slots: "none" };
  if (!stale && left === 0 && joined === 0) return { before, after: before, slots: "none" };
  const span =
    stale || left > joined || count > before.limit ? null : planSpan(before, merge, { set, read: from.read });
  if (span !== null) return { before, after: { ...before, count }, slots: span };
  const base = from.slots.allocate(count);
  if (base < 0) {
    const { used, capacity } = from.slots;
    return `pt_slots has no run of ${extentSize(count)} free slots: ${used} of ${capacity} in use`;
  }
  return { before, after: { base, count, algorithm: ALGORITHM.RANDOM, limit: extentSize(count) }, slots: "all" };
}

/**
 * Who joined stands where somebody left, the others behind the last: a lookup finds the old member or the new one. Null
 * if the slots do not hold what they should.
 */
function planSpan(
  { base, count }: Extent,
  merge: Merge,
  { set, read }: { set: SetName; read: ReadSlots },
): SlotSpan | null {
  const joined = joinedIds(merge, set);
  const left = new Set(merge.left[set]);
  const now = left.size === 0 ? NO_SLOTS : read(base, count);
  const places = left.size === 0 ? [] : [...now.keys()].filter((place) => left.has(now[place] ?? 0));
  if (places.length !== left.size) return null;
  const first = places[0] ?? count;
  const end = joined.length > places.length ? count + joined.length - places.length : (places.at(-1) ?? 0) + 1;
  const ids = new Uint32Array(end - first);
  const before = now.slice(first, Math.min(end, count));
  ids.set(before);
  joined.forEach((id, i) => {
    ids[(places[i] ?? count + i - places.length) - first] = id;
  });
  return { base: base + first, ids, before };
}

function countMembers(endpoints: Uint8Array, set: SetName): number {
  let count = 0;
  for (let at = FLAGS_AT; at < endpoints.length; at += ENDPOINT_STRIDE)
    if (((endpoints[at] ?? 0) & SETS[set]) !== 0) count++;
  return count;
}
