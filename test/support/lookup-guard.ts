// SPDX-License-Identifier: Apache-2.0
// A reader that looks in after every single store, and slow readers that still hold what they read before: what any
// lookup on any CPU could find. Notes every store after which one of them would be led astray.

import { parseExtentWord } from "../../src/datapath/extent.ts";
import { BACKEND, FRONTEND } from "../../src/datapath/layout.ts";
import type { MapPort, NameRow } from "../../src/datapath/port.ts";
import { extentSize } from "../../src/program/allocator.ts";
import { endpointText, isMember, pickable, type SetBit } from "./map-lines.ts";
import { frontendText, MemoryMaps, type MemoryState, usedRuns } from "./memory-maps.ts";
import { type Admissions, RangeGuard, readAdmissions } from "./range-guard.ts";

/** From where a frontend is called; each has its own policy bit. */
const VIEWS = { node: FRONTEND.INTERNAL_LOCAL, outside: FRONTEND.EXTERNAL_LOCAL } as const;
type View = keyof typeof VIEWS;

export interface Served {
  /** Name, protocol and family of the unit it leads to. */
  readonly unit: string;
  readonly local: boolean;
  /** Endpoints of the set in force. */
  readonly endpoints: ReadonlySet<string>;
}
export interface Table {
  /** By "VIEW key". */
  readonly frontends: ReadonlyMap<string, Served>;
  /** Endpoints of both sets, by unit. */
  readonly members: ReadonlyMap<string, ReadonlySet<string>>;
  /** By key, of load balancer addresses. */
  readonly admissions: Admissions;
}
const NOTHING: Table = { frontends: new Map(), members: new Map(), admissions: new Map() };

/** An extent that was published, held by a reader until a grace period has passed since its end. */
interface Held {
  readonly serviceId: number;
  readonly bit: SetBit;
  readonly word: bigint;
  readonly ids: number[];
  readonly rows: string[];
  endedAt: number | null;
}

/** A backend whose slot was given to another: a reader may still be on its way to it. */
interface Left {
  readonly id: number;
  readonly row: string;
  readonly at: number;
}

export class LookupGuard {
  readonly violations: string[] = [];
  readonly #memory: MemoryState;
  readonly #port: MapPort;
  readonly #ranges: RangeGuard;
  #before: Table = NOTHING;
  #after: Table = NOTHING;
  #excused: ReadonlySet<string> = new Set();
  #held: Held[] = [];
  #left: Left[] = [];
  #stores = 0;
  readonly #words = new Map<string, bigint>();

  constructor(memory: MemoryState) {
    this.#memory = memory;
    this.#port = new MemoryMaps(memory);
    this.#ranges = new RangeGuard(this.#port);
    this.#followWords();
  }

  get stores(): number {
    return this.#stores;
  }

  /** From now on lookups may find what is there now or what `after` says. Keys in `excused` may be without an answer. */
  expect(after: Table, excused: ReadonlySet<string> = new Set()): void {
    this.#before = readTable(this.#port);
    this.#after = after;
    this.#excused = excused;
    this.#ranges.expect(after.admissions, (frontend) => excused.has(`node ${frontend}`));
  }

  afterStore(operation: string): void {
    this.#stores++;
    try {
      this.#followWords();
      this.#checkTable();
      this.#ranges.check(this.#stores);
      this.#checkHeld();
      this.#checkRuns();
    } catch (error) {
      this.violations.push(`store ${this.#stores} (${operation}): ${(error as Error).message}`);
    }
  }

  /** A grace period: readers of before its beginning are gone at its end. */
  async grace(): Promise<void> {
    const begin = this.#stores;
    await new Promise((resolve) => setImmediate(resolve));
    this.#held = this.#held.filter(({ endedAt }) => endedAt === null || endedAt > begin);
    this.#ranges.passed(begin);
    this.#left = this.#left.filter(({ at }) => at > begin);
  }

  #followWords(): void {
    for (const [serviceId, row] of this.#memory.services) {
      for (const [bit, word] of [
        [BACKEND.CLUSTER, row.cluster],
        [BACKEND.LOCAL, row.local],
      ] as const) {
        const key = `${serviceId}.${bit}`;
        if (this.#words.get(key) === word) continue;
        this.#words.set(key, word);
        for (const held of this.#held) {
          if (held.serviceId === serviceId && held.bit === bit && held.endedAt === null) held.endedAt = this.#stores;
        }
        const ids = [...pickable(this.#port, serviceId, bit)];
        if (ids.length === 0) continue;
        this.#held.push({ serviceId, bit, word, ids, rows: ids.map((id) => this.#identity(id)), endedAt: null });
      }
    }
  }

  /** What must not change while somebody may hold the id: all but that it is retired. */
  #identity(id: number): string {
    const life = this.#port.backendGeneration(id) >>> 1;
    return `${endpointText(this.#port, id)} of ${this.#port.backendService(id)}, its life ${life}`;
  }

  #checkTable(): void {
    const now = readTable(this.#port).frontends;
    for (const key of new Set([...this.#before.frontends.keys(), ...this.#after.frontends.keys()])) {
      const is = now.get(key);
      const was = this.#before.frontends.get(key);
      const becomes = this.#after.frontends.get(key);
      if (is !== undefined) this.#checkEntry(key, is, { was, becomes });
      else if (was !== undefined && becomes !== undefined && !this.#excused.has(key)) throw new Error(`${key} is gone`);
    }
  }

  #checkEntry(
    key: string,
    is: Served,
    { was, becomes }: { was: Served | undefined; becomes: Served | undefined },
  ): void {
    const sides = [was, becomes].filter((side) => side !== undefined);
    if (sides.every(({ unit }) => unit !== is.unit)) throw new Error(`${key} leads to ${is.unit}`);
    const steady = sides.length === 2 && sides.every(({ unit, local }) => unit === is.unit && local === is.local);
    const allowed = steady ? sides.flatMap(({ endpoints }) => [...endpoints]) : this.#membersOf(is.unit);
    for (const endpoint of is.endpoints) {
      if (!allowed.includes(endpoint)) throw new Error(`${key} leads to ${endpoint}, never a member`);
    }
    const answered = sides.length === 2 && sides.every(({ endpoints }) => endpoints.size > 0);
    if (answered && is.endpoints.size === 0 && !this.#excused.has(key)) throw new Error(`${key} leads to nobody`);
  }

  #membersOf(unit: string): string[] {
    return [...(this.#before.members.get(unit) ?? []), ...(this.#after.members.get(unit) ?? [])];
  }

  #checkHeld(): void {
    for (const held of this.#held) {
      const { base, count } = parseExtentWord(held.word);
      const slots = this.#port.slots(base, count);
      held.ids.forEach((id, i) => {
        if (slots[i] !== id) this.#replace(held, i, slots[i] ?? 0);
      });
      held.ids.forEach((id, i) => {
        this.#checkIdentity(id, held.rows[i]);
        if (held.endedAt === null && !isMember(this.#port, id, held.serviceId, held.bit))
          throw new Error(`backend ${id} is published and dead`);
      });
    }
    for (const { id, row } of this.#left) this.#checkIdentity(id, row);
  }

  #checkIdentity(id: number, row: string | undefined): void {
    if (this.#identity(id) !== row) throw new Error(`backend ${id} was ${row} and is ${this.#identity(id)}`);
  }

  /** A slot of the run in force, by whatever word it was entered, may pass to another member, and to nobody else. */
  #replace(held: Held, i: number, id: number): void {
    const { serviceId, bit, ids, rows } = held;
    const now = this.#held.find(
      (other) => other.serviceId === serviceId && other.bit === bit && other.endedAt === null,
    );
    const inForce = now !== undefined && parseExtentWord(now.word).base === parseExtentWord(held.word).base;
    if (!inForce || !isMember(this.#port, id, serviceId, bit))
      throw new Error(`slot ${i} of an extent of service ${serviceId} was reused before a grace period`);
    this.#left.push({ id: ids[i] ?? 0, row: rows[i] ?? "", at: this.#stores });
    ids[i] = id;
    rows[i] = this.#identity(id);
  }

  #checkRuns(): void {
    let end = 0;
    for (const run of usedRuns(this.#memory)) {
      if (run.base < end) throw new Error(`the extent of ${run.of} overlaps another`);
      end = run.end;
    }
    for (const { word } of this.#held) {
      const { base, count } = parseExtentWord(word);
      if (base + extentSize(count) > this.#memory.capacity.slots) throw new Error(`extent at ${base} is out of range`);
    }
  }
}

/** What each frontend of the maps serves, by view. */
export function readTable(port: MapPort): Table {
  const names = new Map(port.names());
  const frontends = new Map<string, Served>();
  const members = new Map<string, Set<string>>();
  for (const [serviceId, name] of names) {
    const both = ([BACKEND.CLUSTER, BACKEND.LOCAL] as const).flatMap((bit) => membersOf(port, serviceId, bit));
    const unit = unitOf(serviceId, name);
    members.set(unit, new Set([...(members.get(unit) ?? []), ...both]));
  }
  for (const row of port.frontends()) {
    if (row.protocol === 0) continue;
    const unit = unitOf(row.serviceId, names.get(row.serviceId));
    const cluster = membersOf(port, row.serviceId, BACKEND.CLUSTER);
    const near = membersOf(port, row.serviceId, BACKEND.LOCAL);
    for (const view of Object.keys(VIEWS) as View[]) {
      const local = (row.flags & VIEWS[view]) !== 0;
      frontends.set(`${view} ${frontendText(row)}`, { unit, local, endpoints: new Set(local ? near : cluster) });
    }
  }
  return { frontends, members, admissions: readAdmissions(port) };
}

function unitOf(serviceId: number, name: NameRow | undefined): string {
  return name === undefined ? `#${serviceId}` : `${name.name}/${name.protocol}/${name.family}`;
}

function membersOf(port: MapPort, serviceId: number, bit: SetBit): string[] {
  const ids = [...pickable(port, serviceId, bit)].filter((id) => isMember(port, id, serviceId, bit));
  return ids.map((id) => endpointText(port, id));
}
