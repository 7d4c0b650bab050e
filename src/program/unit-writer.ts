// SPDX-License-Identifier: Apache-2.0
// The single steps by which a unit's ids, sets and rows get into the maps, come back out, or go. Each leaves the state
// as the maps are; the order between them is programmer.ts'.

import type { Unit } from "../compile/unit.ts";
import type { MapPort } from "../datapath/port.ts";
import type { BackendBook } from "./backend-book.ts";
import { nothingRetired, type Retired } from "./grace.ts";
import { type ExtentPlan, membersOf, type SetPlan } from "./set-plan.ts";
import {
  DAMAGED,
  type Extent,
  REJECTED,
  SET_NAMES,
  type SetName,
  sameWord,
  type UnitState,
  wordOf,
} from "./unit-state.ts";

/** What is about to be done to one unit. */
export interface SetChange {
  readonly unit: Unit;
  readonly state: UnitState;
  /** The service id is new: nothing leads to it yet. */
  readonly fresh: boolean;
  /** null: endpoints and sets stay. */
  readonly sets: SetPlan | null;
}

export class UnitWriter {
  readonly #port: MapPort;
  readonly #backends: BackendBook;

  constructor(port: MapPort, backends: BackendBook) {
    this.#port = port;
    this.#backends = backends;
  }

  /** Writes everything the unit gains and publishes every set that has members. */
  writeSets({ unit, state, fresh, sets }: SetChange): void {
    if (unit.affinitySec !== state.affinitySec) this.#port.setAffinity(state.serviceId, unit.affinitySec);
    if (sets === null) return;
    const { endpoints, backendIds } = sets;
    const { serviceId } = state;
    const backend = { endpoints, index: 0, serviceId, protocol: unit.protocol };
    for (let i = 0; i < sets.added.length; i++) {
      backend.index = sets.added[i] ?? 0;
      this.#backends.write(backendIds[backend.index] ?? 0, backend);
    }
    for (const { id, before, after } of sets.changed) {
      if ((after & ~before) !== 0) this.#backends.setFlags(id, before | after);
    }
    for (const set of SET_NAMES) {
      const { before, after } = sets.extents[set];
      this.#writeSlots(sets, set);
      if ((fresh || after.count > 0) && !sameWord(before, after)) this.#publish(state.serviceId, set, after);
    }
  }

  /** Publishes the sets that became empty, takes leavers out of use and makes the plan the state. Adds to `retired`. */
  finishSets({ unit, state, fresh, sets }: SetChange, retired: Retired): void {
    state.affinitySec = unit.affinitySec;
    if (sets === null) return;
    for (const set of SET_NAMES) {
      const { before, after } = sets.extents[set];
      if (!fresh && after.count === 0 && !sameWord(before, after)) this.#publish(state.serviceId, set, after);
    }
    for (const { id, before, after } of sets.changed) {
      if ((before & ~after) !== 0) this.#backends.setFlags(id, after);
    }
    for (const id of sets.removedIds) this.#retireBackend(id, retired);
    for (const set of SET_NAMES) {
      const { before, after, slots } = sets.extents[set];
      if (before.count > 0 && typeof slots === "string" && !sameWord(before, after)) retired.extents.push(before);
      state.extents[set] = after;
    }
    state.endpoints = sets.endpoints;
    state.backendIds = sets.backendIds;
    state.stale = 0;
  }

  /** Undoes writeSets: the old words again, what was added out of use. */
  revertSets({ unit, state, fresh, sets }: SetChange): Retired {
    const retired = nothingRetired();
    if (unit.affinitySec !== state.affinitySec) this.#port.setAffinity(state.serviceId, state.affinitySec);
    if (sets === null) return retired;
    for (const set of SET_NAMES) this.#revertExtent(state, set, { plan: sets.extents[set], fresh, retired });
    for (const { id, before, after } of sets.changed) {
      if ((after & ~before) !== 0) this.#backends.setFlags(id, before);
    }
    for (const index of sets.added) this.#retireBackend(sets.backendIds[index] ?? 0, retired);
    return retired;
  }

  /** Takes a unit without rows out of use altogether. Its name goes after the grace period. */
  retireUnit(state: UnitState): Retired {
    const retired = nothingRetired();
    if (state.serviceId === 0) return retired;
    for (const set of SET_NAMES) {
      const extent = state.extents[set];
      if (!sameWord(extent, REJECTED)) this.#publish(state.serviceId, set, REJECTED);
      if (extent.count > 0) retired.extents.push(extent);
      state.extents[set] = REJECTED;
    }
    for (const id of state.backendIds) this.#retireBackend(id, retired);
    retired.services.push(state.serviceId);
    state.endpoints = new Uint8Array(0);
    state.backendIds = [];
    return retired;
  }

  #publish(serviceId: number, set: SetName, extent: Extent): void {
    if (set === "cluster") this.#port.setCluster(serviceId, wordOf(extent));
    else this.#port.setLocal(serviceId, wordOf(extent));
  }

  #writeSlots(sets: SetPlan, set: SetName): void {
    const { after, slots } = sets.extents[set];
    if (slots === "all") this.#port.writeSlots(after.base, membersOf(sets, set));
    else if (slots !== "none") this.#port.writeSlots(slots.base, slots.ids);
  }

  #revertExtent(
    state: UnitState,
    set: SetName,
    { plan, fresh, retired }: { plan: ExtentPlan; fresh: boolean; retired: Retired },
  ): void {
    const { before, after, slots } = plan;
    const old = before === DAMAGED ? REJECTED : before;
    if ((fresh || after.count > 0) && !sameWord(before, after)) this.#publish(state.serviceId, set, old);
    if (slots === "all") retired.extents.push(after);
    else if (slots !== "none" && slots.before.length > 0) this.#port.writeSlots(slots.base, slots.before);
    state.extents[set] = typeof slots === "string" ? old : { ...old, limit: old.count };
  }

  #retireBackend(id: number, retired: Retired): void {
    this.#backends.retire(id);
    retired.backends.push(id);
  }
}
