// SPDX-License-Identifier: Apache-2.0
// Holds what the kernel has, as units, and brings it to what is asked for in an order in which every lookup sees the
// old unit or the new one: names, backends, slots, words, rows; then what became empty, rows that go, units that go;
// after a grace period (grace.ts) what they held. A unit is programmed whole or stays as it was, pending with a reason.

import type { Unit, UnitDelta } from "../compile/unit.ts";
import type { MapPort } from "../datapath/port.ts";
import { ExtentAllocator, IdAllocator } from "./allocator.ts";
import { type BindGuard, FrontendTable, rowsOf } from "./frontend-table.ts";
import { Quarantine, type Retired } from "./grace.ts";
import { type NodeAddress, NodeAddressWriter } from "./node-addresses.ts";
import { type Recovered, readUnits } from "./recover.ts";
import { isFull, type RowChange, RowWriter } from "./row-writer.ts";
import { dropPlan, planSets, setsAreCurrent } from "./set-plan.ts";
import type { ApplyReport, PendingUnit, ProgrammerStatus, UnitStatus } from "./status.ts";
import { DAMAGED, type Extent, type FrontendSpec, REJECTED, type UnitState } from "./unit-state.ts";
import { type SetChange, UnitWriter } from "./unit-writer.ts";

export interface ProgrammerOptions {
  readonly bindGuard: BindGuard;
  /** Called after a retry that room made possible, outside any apply(). */
  readonly onRetry?: (report: ApplyReport) => void;
}

interface Change extends SetChange, RowChange {
  readonly wanted: ReadonlySet<string>;
}

interface Pending {
  /** null: it is to be removed. */
  readonly unit: Unit | null;
  readonly name: string;
  readonly reason: string;
  /** Worth another try only after something was freed. */
  readonly full: boolean;
  readonly sinceMs: number;
}

/** One apply() in the making. */
interface Round {
  readonly changes: Change[];
  readonly refused: PendingUnit[];
  /** Rows and "any port" addresses that this round will add. */
  rows: number;
  readonly addresses: Set<string>;
  added: number;
  changed: number;
  removed: number;
  unchanged: number;
}

const SETS_BATCH = 4096;

export class Programmer {
  readonly #port: MapPort;
  readonly #options: ProgrammerOptions;
  readonly #units: Map<string, UnitState>;
  readonly #pending = new Map<string, Pending>();
  readonly #services: IdAllocator;
  readonly #backends: IdAllocator;
  readonly #slots: ExtentAllocator;
  readonly #table = new FrontendTable();
  readonly #rows: RowWriter;
  readonly #writer: UnitWriter;
  readonly #quarantine: Quarantine;
  readonly #nodeAddresses: NodeAddressWriter;
  readonly #strayNames: readonly number[];
  #deletesAllowed = false;
  #swept = false;
  #roomFreed = false;
  #applies = 0;
  #last = { atMs: 0, durationMs: 0 };
  #rowFailure: string | null = null;

  /**
   * Adopts what the maps hold. Waits for one grace period first unless the maps are untouched: lookups of a former
   * agent's time may still be under way in what now looks free. Rejects with BpfError if there is none to be had.
   */
  static async start(port: MapPort, options: ProgrammerOptions): Promise<Programmer> {
    const found = readUnits(port);
    if (!found.virgin) await port.grace();
    return new Programmer(port, found, options);
  }

  private constructor(port: MapPort, found: Recovered, options: ProgrammerOptions) {
    this.#port = port;
    this.#options = options;
    this.#units = new Map(found.units);
    this.#services = new IdAllocator(port.capacity.services);
    this.#backends = new IdAllocator(port.capacity.backends);
    this.#slots = new ExtentAllocator(port.capacity.slots);
    this.#rows = new RowWriter(port, this.#table);
    this.#writer = new UnitWriter(port);
    this.#nodeAddresses = new NodeAddressWriter(port);
    this.#strayNames = found.strayNames;
    this.#quarantine = new Quarantine(port, {
      services: this.#services,
      backends: this.#backends,
      slots: this.#slots,
      onFreed: () => this.#retryFreed(),
    });
    this.#adopt(found);
  }

  /** Programs new and changed units, removes those that are gone, and tries again what is pending and may fit now. */
  apply(delta: Pick<UnitDelta, "upserted" | "removed">): ApplyReport {
    const startMs = performance.now();
    const writes = this.#port.writes;
    const round = newRound();
    const { units, removals } = this.#collect(delta);
    for (const unit of units) this.#plan(unit, round);
    this.#name(round);
    const live = round.changes.filter((change) => change.failure === null);
    for (const change of live) this.#writer.writeSets(change);
    this.#rows.put(live);
    for (const change of live) this.#finish(change, round);
    for (const change of live) this.#dropRows(change, round);
    for (const key of removals) this.#remove(key, round);
    this.#sweep();
    const durationMs = performance.now() - startMs;
    this.#applies++;
    this.#last = { atMs: Date.now(), durationMs };
    const { added, changed, removed, unchanged, refused } = round;
    return { added, changed, removed, unchanged, refused, writes: this.#port.writes - writes, durationMs };
  }

  /** Tries again everything that is pending, and frees what a failed grace period left. */
  retry(): ApplyReport {
    this.#roomFreed = true;
    this.#nodeAddresses.write();
    this.#quarantine.kick();
    return this.apply({ upserted: [], removed: [] });
  }

  /** From the next apply() on, units found at start that nobody asked for are removed. */
  allowDeletes(): void {
    this.#deletesAllowed = true;
  }

  setNodeAddresses(addresses: readonly NodeAddress[]): void {
    this.#nodeAddresses.set(addresses);
  }

  /** Resolves when nothing is left that a grace period can free. */
  settled(): Promise<void> {
    return this.#quarantine.settled();
  }

  status(): ProgrammerStatus {
    let recovered = 0;
    let endpoints = 0;
    for (const state of this.#units.values()) {
      if (state.unclaimed) recovered++;
      endpoints += state.backendIds.length;
    }
    const { frontends } = this.#port.capacity;
    return {
      units: this.#units.size,
      recovered,
      endpoints,
      pending: [...this.#pending].map(([key, pending]) => pendingUnit(key, pending)),
      fill: {
        services: { used: this.#services.used, capacity: this.#services.limit },
        frontends: { used: this.#table.size, capacity: frontends },
        backends: { used: this.#backends.used, capacity: this.#backends.limit },
        slots: { used: this.#slots.used, capacity: this.#slots.capacity },
      },
      quarantined: this.#quarantine.backends,
      writes: this.#port.writes,
      graces: this.#quarantine.graces,
      applies: this.#applies,
      lastApplyMs: this.#last.atMs,
      lastApplyDurationMs: this.#last.durationMs,
      failure: this.#quarantine.failure ?? this.#nodeAddresses.failure ?? this.#rowFailure,
    };
  }

  /** Every unit the kernel has something of. Those that are pending and have nothing yet are in status().pending only. */
  *units(): Generator<UnitStatus> {
    for (const [key, state] of this.#units) {
      const pending = this.#pending.get(key);
      const condition = pending === undefined ? (state.unclaimed ? "recovered" : "programmed") : "pending";
      const removing = pending !== undefined && pending.unit === null;
      yield { state, condition: removing ? "removing" : condition, reason: pending?.reason ?? null };
    }
  }

  #adopt(found: Recovered): void {
    const runs: Extent[] = [];
    for (const state of this.#units.values()) {
      if (state.serviceId !== 0) this.#services.reserve(state.serviceId);
      for (const id of state.backendIds) this.#backends.reserve(id);
      for (const row of state.rows.splice(0)) this.#table.record(row, state);
      for (const extent of Object.values(state.extents)) if (extent.count > 0) runs.push(extent);
    }
    this.#slots.reserveAll(runs);
    for (const address of found.anyPort) this.#table.recordAnyPort(address);
    for (const id of found.countedBackends) this.#port.resetActive(id);
    for (const id of found.strayBackends) {
      this.#backends.reserve(id);
      if (this.#port.backendFlags(id) !== 0) this.#port.setBackendFlags(id, 0);
    }
    this.#quarantine.add({ backends: [...found.strayBackends], extents: [], services: [] }, false);
  }

  /** What this round is to look at: the delta, what is pending and may work now, and, once allowed, the unclaimed. */
  #collect({ upserted, removed }: Pick<UnitDelta, "upserted" | "removed">): { units: Unit[]; removals: Set<string> } {
    const asked = new Set(upserted.map((unit) => unit.key));
    const gone = new Set(removed);
    const units: Unit[] = [];
    const removals = new Set<string>();
    for (const [key, { unit, full }] of this.#pending) {
      if (asked.has(key) || gone.has(key) || (full && !this.#roomFreed)) continue;
      if (unit === null) removals.add(key);
      else units.push(unit);
    }
    this.#roomFreed = false;
    for (const unit of upserted) {
      const state = this.#units.get(unit.key);
      if (state !== undefined) state.unclaimed = false;
      units.push(unit);
    }
    for (const key of gone) {
      this.#pending.delete(key);
      const state = this.#units.get(key);
      if (state !== undefined && !state.unclaimed) removals.add(key);
    }
    if (this.#deletesAllowed && !this.#swept) {
      for (const [key, state] of this.#units) if (state.unclaimed) removals.add(key);
    }
    return { units, removals };
  }

  /** Adds the unit's change to the round, with everything it needs taken; or refuses it; or finds nothing to do. */
  #plan(unit: Unit, round: Round): void {
    const existing = this.#units.get(unit.key);
    const wanted = rowsOf(unit, this.#options.bindGuard);
    const current = existing !== undefined && setsAreCurrent(existing, unit);
    if (existing !== undefined && current && this.#isCurrent(existing, unit, wanted)) {
      this.#pending.delete(unit.key);
      round.unchanged++;
      return;
    }
    const puts = wanted.filter((row) => {
      const found = this.#table.get(row.key);
      return found === undefined || found.owner !== existing || found.row.flags !== row.flags;
    });
    if (!this.#takeRows(wanted, puts, round)) {
      const { frontends } = this.#port.capacity;
      this.#refuse(unit, {
        reason: `pt_frontends is full: ${this.#table.size} of ${frontends} rows`,
        full: true,
        round,
      });
      return;
    }
    const state = existing ?? this.#freshState(unit);
    if (state === null) {
      const { used, limit } = this.#services;
      this.#refuse(unit, { reason: `pt_services is full: ${used} of ${limit} ids in use`, full: true, round });
      return;
    }
    const sets = current ? null : planSets(state, unit, { backends: this.#backends, slots: this.#slots });
    if (typeof sets === "string") {
      if (existing === undefined) this.#services.release(state.serviceId);
      this.#refuse(unit, { reason: sets, full: true, round });
      return;
    }
    const keys = new Set(wanted.map((row) => row.key));
    const fresh = existing === undefined;
    round.changes.push({ unit, state, fresh, sets, puts, wanted: keys, written: [], failure: null, stuck: false });
  }

  /** Whether rows and affinity are as asked for, too. */
  #isCurrent(state: UnitState, unit: Unit, wanted: readonly FrontendSpec[]): boolean {
    if (state.affinitySec !== unit.affinitySec || state.rows.length !== wanted.length) return false;
    if (this.#table.missingAnyPort(wanted).length > 0) return false;
    return wanted.every((row) => {
      const found = this.#table.get(row.key);
      return found?.owner === state && found.row.flags === row.flags;
    });
  }

  /** Whether the map has room for the rows that are new; counts them to the round if so. */
  #takeRows(wanted: readonly FrontendSpec[], puts: readonly FrontendSpec[], round: Round): boolean {
    const addresses = this.#table.missingAnyPort(wanted).filter((address) => !round.addresses.has(address));
    const rows = puts.filter((row) => this.#table.get(row.key) === undefined).length + addresses.length;
    if (this.#table.size + round.rows + rows > this.#port.capacity.frontends) return false;
    round.rows += rows;
    for (const address of addresses) round.addresses.add(address);
    return true;
  }

  #freshState(unit: Unit): UnitState | null {
    const serviceId = this.#services.allocate();
    if (serviceId === 0) return null;
    const { key, name, family, protocol } = unit;
    const row = this.#port.service(serviceId);
    const extents = { cluster: row.cluster === 0n ? REJECTED : DAMAGED, local: row.local === 0n ? REJECTED : DAMAGED };
    const empty = { endpoints: new Uint8Array(0), backendIds: new Uint32Array(0), rows: [], stale: new Set<never>() };
    return {
      key,
      serviceId,
      name,
      family,
      protocol,
      extents,
      affinitySec: row.affinitySec,
      unclaimed: false,
      ...empty,
    };
  }

  /** Names come before any other entry of a new unit: by its name a restart finds what there is of it. */
  #name(round: Round): void {
    const fresh = round.changes.filter((change) => change.fresh);
    for (let at = 0; at < fresh.length; ) {
      const part = fresh.slice(at, at + SETS_BATCH);
      let written = 0;
      let reason = "pt_names is full";
      let full = true;
      try {
        written = this.#port.setNames(part.map(({ state }) => [state.serviceId, state]));
      } catch (error) {
        full = isFull(error);
        if (!full) reason = (error as Error).message;
      }
      at += written;
      const next = part[written];
      if (next === undefined) continue;
      at++;
      next.failure = reason;
      if (next.sets !== null) dropPlan(next.sets, { backends: this.#backends, slots: this.#slots });
      this.#services.release(next.state.serviceId);
      this.#refuse(next.unit, { reason, full, round });
    }
  }

  /** All rows are in: the plan becomes the state. Or not: the unit goes back to what it was. */
  #finish(change: Change, round: Round): void {
    const { unit, state, fresh, failure, stuck } = change;
    if (failure !== null && !stuck) {
      this.#quarantine.add(this.#writer.revertSets(change), false);
      if (fresh) this.#quarantine.add(this.#writer.retireUnit(state), false);
      this.#refuse(unit, { reason: failure, full: false, round });
      return;
    }
    this.#retire(this.#writer.finishSets(change));
    this.#units.set(unit.key, state);
    if (failure !== null) {
      this.#refuse(unit, { reason: failure, full: false, round });
      return;
    }
    this.#pending.delete(unit.key);
    if (fresh) round.added++;
    else round.changed++;
  }

  #dropRows({ unit, state, wanted, failure }: Change, round: Round): void {
    if (failure !== null) return;
    const left = state.rows.filter((row) => !wanted.has(row.key));
    if (left.length === 0) return;
    this.#roomFreed = true;
    const reason = this.#rows.remove(left);
    if (reason !== null) this.#refuse(unit, { reason, full: false, round });
  }

  #remove(key: string, round: Round): void {
    const state = this.#units.get(key);
    if (state === undefined) return;
    const reason = this.#rows.remove(state.rows);
    if (reason !== null) {
      const sinceMs = this.#pending.get(key)?.sinceMs ?? Date.now();
      const pending = { unit: null, name: state.name, reason, full: false, sinceMs };
      this.#pending.set(key, pending);
      round.refused.push(pendingUnit(key, pending));
      return;
    }
    this.#retire(this.#writer.retireUnit(state));
    this.#units.delete(key);
    this.#pending.delete(key);
    round.removed++;
  }

  /** What belongs to no unit. */
  #sweep(): void {
    if (!this.#deletesAllowed) return;
    this.#rowFailure = this.#rows.removeIdleAnyPorts();
    if (this.#swept) return;
    this.#swept = true;
    try {
      for (const id of this.#strayNames) this.#port.deleteName(id);
    } catch (error) {
      this.#swept = false;
      this.#rowFailure = `a name without a service id not deleted: ${(error as Error).message}`;
    }
  }

  #retire(retired: Retired): void {
    this.#quarantine.add(retired, true);
  }

  #refuse(unit: Unit, { reason, full, round }: { reason: string; full: boolean; round: Round }): void {
    const sinceMs = this.#pending.get(unit.key)?.sinceMs ?? Date.now();
    const pending = { unit, name: unit.name, reason, full, sinceMs };
    this.#pending.set(unit.key, pending);
    round.refused.push(pendingUnit(unit.key, pending));
  }

  #retryFreed(): void {
    this.#roomFreed = true;
    if (![...this.#pending.values()].some(({ full }) => full)) return;
    const report = this.apply({ upserted: [], removed: [] });
    this.#options.onRetry?.(report);
  }
}

function newRound(): Round {
  return { changes: [], refused: [], rows: 0, addresses: new Set(), added: 0, changed: 0, removed: 0, unchanged: 0 };
}

function pendingUnit(key: string, { unit, name, reason, sinceMs }: Pending): PendingUnit {
  return { key, name, action: unit === null ? "remove" : "program", reason, sinceMs };
}
