// SPDX-License-Identifier: Apache-2.0
// Holds what the kernel has, as units, and brings it to what is asked for in an order in which every lookup sees the
// old unit or the new one: names, backends, slots, words, source ranges, rows; then what became empty, rows that go,
// units that go; after a grace period (grace.ts) what they held. A unit is programmed whole or stays as it was, pending
// with a reason.

import type { Unit, UnitDelta } from "../compile/unit.ts";
import type { AuditedMaps } from "../datapath/audit-port.ts";
import type { MapPort } from "../datapath/port.ts";
import { ExtentAllocator, IdAllocator } from "./allocator.ts";
import { Audit } from "./audit.ts";
import { BackendBook } from "./backend-book.ts";
import { type BindGuard, FrontendTable } from "./frontend-table.ts";
import { alsoRetired, nothingRetired, Quarantine } from "./grace.ts";
import { type NodeAddress, NodeAddressWriter } from "./node-addresses.ts";
import { type Change, Planner, type Resources } from "./planner.ts";
import { type Recovered, readInSlices } from "./recover.ts";
import { newRound, type Pending, pendingUnit, type Round } from "./round.ts";
import { isFull, RowWriter } from "./row-writer.ts";
import { type FindOwner, type ServingChange, servingChange } from "./serving.ts";
import { SourceRangeWriter } from "./source-ranges.ts";
import type { ApplyReport, ProgrammerStatus, UnitStatus } from "./status.ts";
import type { Extent, UnitState } from "./unit-state.ts";
import { UnitWriter } from "./unit-writer.ts";

export interface ProgrammerOptions {
  readonly bindGuard: BindGuard;
  /** Called after a retry that room made possible, outside any apply(). */
  readonly onRetry?: (report: ApplyReport) => void;
  /** Called at the end of an apply() in which endpoints ceased to serve, or the first began to. */
  readonly onServing?: (changes: readonly ServingChange[]) => void;
}

const NAMES_BATCH = 4096;

export class Programmer {
  readonly audit: Audit;
  readonly #port: MapPort;
  readonly #options: ProgrammerOptions;
  readonly #units: Map<string, UnitState>;
  readonly #pending = new Map<string, Pending>();
  readonly #resources: Resources;
  readonly #table = new FrontendTable();
  readonly #planner: Planner;
  readonly #rows: RowWriter;
  readonly #backends: BackendBook;
  readonly #writer: UnitWriter;
  readonly #ranges: SourceRangeWriter;
  readonly #quarantine: Quarantine;
  readonly #nodeAddresses: NodeAddressWriter;
  readonly #strayNames: readonly number[];
  /** The last change of each unit, as long as rows may be left of what it was. */
  readonly #losing = new Map<string, Change>();
  #more = false;
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
  static async start(port: AuditedMaps, options: ProgrammerOptions): Promise<Programmer> {
    const found = await readInSlices(port);
    if (!found.virgin) await port.grace();
    return new Programmer(port, found, options);
  }

  private constructor(port: AuditedMaps, found: Recovered, options: ProgrammerOptions) {
    this.#port = port;
    this.#options = options;
    this.#units = new Map(found.units);
    this.#resources = {
      services: new IdAllocator(port.capacity.services),
      backends: new IdAllocator(port.capacity.backends),
      slots: new ExtentAllocator(port.capacity.slots),
    };
    this.#ranges = new SourceRangeWriter(port);
    const parts = { table: this.#table, resources: this.#resources, ranges: this.#ranges };
    this.#planner = new Planner(port, { ...parts, bindGuard: options.bindGuard });
    this.#rows = new RowWriter(port, this.#table);
    this.#backends = new BackendBook(port);
    this.#writer = new UnitWriter(port, this.#backends);
    this.#nodeAddresses = new NodeAddressWriter(port);
    this.#strayNames = found.strayNames;
    const onFreed = () => this.#retryFreed();
    this.#quarantine = new Quarantine(port, { ...this.#resources, ranges: this.#ranges, onFreed });
    this.#adopt(found);
    this.audit = new Audit(port, {
      units: this.#units,
      serviceIds: this.#resources.services,
      backendIds: this.#resources.backends,
      slots: this.#resources.slots,
      backends: this.#backends,
      table: this.#table,
      ranges: this.#ranges,
      nodeAddresses: this.#nodeAddresses,
    });
  }

  /**
   * Programs new and changed units, removes those that are gone, and tries again what is pending and may fit now. With
   * `more` to come at once, rows that units lose stay until the last part is in: an address that passes from one unit to
   * another, in another part, always has an owner.
   */
  apply(delta: Pick<UnitDelta, "upserted" | "removed">, more = false): ApplyReport {
    const startMs = performance.now();
    const writes = this.#port.writes;
    const round = newRound();
    const { units, removals } = this.#collect(delta);
    this.#planner.begin();
    for (const unit of units) this.#plan(unit, round);
    const plannedMs = performance.now();
    this.#name(round);
    const live = round.changes.filter((change) => change.failure === null);
    for (const change of live) this.#writer.writeSets(change);
    for (const change of live) this.#ranges.put(change);
    this.#rows.put(live.filter((change) => change.failure === null));
    for (const change of live) this.#finish(change, round);
    this.#more = more;
    for (const change of live) this.#noteLoss(change);
    if (!more) this.#dropAllRows(round);
    for (const key of removals) this.#remove(key, round);
    this.#sweep();
    this.#quarantine.add(round);
    if (round.serving.length > 0) this.#options.onServing?.(round.serving);
    const endMs = performance.now();
    const durationMs = endMs - startMs;
    this.#applies++;
    this.#last = { atMs: Date.now(), durationMs };
    const { added, changed, removed, unchanged, refused } = round;
    const spent = { writes: this.#port.writes - writes, durationMs, writeMs: endMs - plannedMs };
    return { added, changed, removed, unchanged, refused, ...spent };
  }

  /** Tries again everything that is pending, and frees what a failed grace period left. */
  retry(): ApplyReport {
    this.#roomFreed = true;
    this.#nodeAddresses.write();
    this.#quarantine.kick();
    return this.apply({ upserted: [], removed: [] }, this.#more);
  }

  /** Whether retry() has anything to do; costs nothing to ask. */
  get wantsRetry(): boolean {
    return this.#pending.size > 0 || this.#failure() !== null;
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
    const { frontends, sourceRanges } = this.#port.capacity;
    return {
      units: this.#units.size,
      recovered,
      endpoints,
      pending: [...this.#pending].map(([key, pending]) => pendingUnit(key, pending)),
      fill: {
        services: { used: this.#resources.services.used, capacity: this.#resources.services.limit },
        frontends: { used: this.#table.size, capacity: frontends },
        backends: { used: this.#resources.backends.used, capacity: this.#resources.backends.limit },
        slots: { used: this.#resources.slots.used, capacity: this.#resources.slots.capacity },
        sourceRanges: { used: this.#ranges.used, capacity: sourceRanges },
      },
      quarantined: this.#quarantine.backends,
      writes: this.#port.writes,
      graces: this.#quarantine.graces,
      applies: this.#applies,
      lastApplyMs: this.#last.atMs,
      lastApplyDurationMs: this.#last.durationMs,
      failure: this.#failure(),
    };
  }

  /** Whose row decides what a call to this address and port means. */
  readonly ownerOf: FindOwner = (address, port, protocol) => this.#table.ownerOf(address, port, protocol);

  /** TCP connections that this node's sockets have open to each unit, by its Service. */
  *connections(): Generator<readonly [service: string, connections: number]> {
    for (const { name, backendIds } of this.#units.values()) {
      let open = 0;
      for (const id of backendIds) open += Number(BigInt.asIntN(64, this.#port.active(id)));
      yield [name.split(":", 1)[0] ?? name, Math.max(0, open)];
    }
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

  #failure(): string | null {
    return this.#quarantine.failure ?? this.#nodeAddresses.failure ?? this.#rowFailure;
  }

  #adopt(found: Recovered): void {
    const runs: Extent[] = [];
    for (const state of this.#units.values()) {
      if (state.serviceId !== 0) this.#resources.services.reserve(state.serviceId);
      for (const id of state.backendIds) this.#resources.backends.reserve(id);
      const { rows } = state;
      state.rows = [];
      for (const row of rows) this.#table.record(row, state);
      for (const extent of Object.values(state.extents)) if (extent.count > 0) runs.push(extent);
    }
    this.#resources.slots.reserveAll(runs);
    for (const address of found.anyPort) this.#table.recordAnyPort(address);
    for (const id of found.countedBackends) this.#port.resetActive(id);
    for (const id of found.strayBackends) {
      this.#resources.backends.reserve(id);
      this.#backends.retire(id);
    }
    const ranges = this.#ranges.adopt(this.#units.values(), found.strayRanges);
    const reverted = { ...nothingRetired(), backends: [...found.strayBackends], ranges };
    this.#quarantine.add({ retired: nothingRetired(), reverted });
  }

  /** What this round is to look at: the delta, what is pending and may work now, and, once allowed, the unclaimed. */
  #collect({ upserted, removed }: Pick<UnitDelta, "upserted" | "removed">): { units: Unit[]; removals: Set<string> } {
    const units: Unit[] = [];
    const removals = new Set<string>();
    const told = new Set(this.#pending.size > 0 ? [...upserted.map(({ key }) => key), ...removed] : []);
    for (const [key, { unit, full }] of this.#pending) {
      if (told.has(key) || (full && !this.#roomFreed)) continue;
      if (unit === null) removals.add(key);
      else units.push(unit);
    }
    this.#roomFreed = false;
    for (const unit of upserted) {
      const state = this.#units.get(unit.key);
      if (state !== undefined) state.unclaimed = false;
      units.push(unit);
    }
    for (const key of removed) {
      this.#pending.delete(key);
      const state = this.#units.get(key);
      if (state !== undefined && !state.unclaimed) removals.add(key);
    }
    if (this.#deletesAllowed && !this.#swept) {
      for (const [key, state] of this.#units) if (state.unclaimed) removals.add(key);
    }
    return { units, removals };
  }

  /** Adds the unit's change to the round; or refuses it; or finds nothing to do. */
  #plan(unit: Unit, round: Round): void {
    const plan = this.#planner.plan(unit, this.#units.get(unit.key));
    if (plan === null) {
      this.#pending.delete(unit.key);
      round.unchanged++;
    } else if (typeof plan === "string") {
      this.#refuse(unit, { reason: plan, full: true, round });
    } else {
      round.changes.push(plan);
    }
  }

  /** Names come before any other entry of a new unit: by its name a restart finds what there is of it. */
  #name(round: Round): void {
    const fresh = round.changes.filter((change) => change.fresh);
    for (let at = 0; at < fresh.length; ) {
      const part = fresh.slice(at, at + NAMES_BATCH);
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
      if (written > 0 || next === undefined) continue;
      at++;
      next.failure = reason;
      this.#planner.discard(next);
      this.#refuse(next.unit, { reason, full, round });
    }
  }

  /** All rows are in: the plan becomes the state. Or not: the unit goes back to what it was. */
  #finish(change: Change, round: Round): void {
    const { unit, state, fresh, failure, stuck } = change;
    if (failure !== null && !stuck) {
      alsoRetired(round.reverted, this.#writer.revertSets(change));
      this.#ranges.revert(change, round.reverted.ranges);
      if (fresh) alsoRetired(round.reverted, this.#writer.retireUnit(state));
      this.#refuse(unit, { reason: failure, full: false, round });
      return;
    }
    const moved = servingChange(change);
    if (moved !== null) round.serving.push(moved);
    this.#writer.finishSets(change, round.retired);
    this.#ranges.finish(change, round.retired.ranges);
    this.#units.set(unit.key, state);
    if (failure !== null) {
      this.#refuse(unit, { reason: failure, full: false, round });
      return;
    }
    this.#pending.delete(unit.key);
    if (fresh) round.added++;
    else round.changed++;
  }

  #noteLoss(change: Change): void {
    const { unit, state, wanted } = change;
    if (state.rows.length === wanted.length) this.#losing.delete(unit.key);
    else this.#losing.set(unit.key, change);
  }

  #dropAllRows(round: Round): void {
    if (this.#losing.size === 0) return;
    for (const change of this.#losing.values()) this.#dropRows(change, round);
    this.#losing.clear();
  }

  #dropRows({ unit, state, wanted, failure }: Change, round: Round): void {
    if (failure !== null || state.rows.length === wanted.length) return;
    const keys = new Set(wanted.map((row) => row.key));
    const left = state.rows.filter((row) => !keys.has(row.key));
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
    alsoRetired(round.retired, this.#writer.retireUnit(state));
    this.#ranges.retire(state, round.retired.ranges);
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

  #refuse(unit: Unit, { reason, full, round }: { reason: string; full: boolean; round: Round }): void {
    const sinceMs = this.#pending.get(unit.key)?.sinceMs ?? Date.now();
    const pending = { unit, name: unit.name, reason, full, sinceMs };
    this.#pending.set(unit.key, pending);
    round.refused.push(pendingUnit(unit.key, pending));
  }

  #retryFreed(): void {
    this.#roomFreed = true;
    if (![...this.#pending.values()].some(({ full }) => full)) return;
    const report = this.apply({ upserted: [], removed: [] }, this.#more);
    this.#options.onRetry?.(report);
  }
}
