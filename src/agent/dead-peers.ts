// SPDX-License-Identifier: Apache-2.0
// Sockets connected to endpoints that serve no more: found by their records and ended, so that the application notices
// and connects anew. Passes are a tenth of a second apart at least, whatever the rate of changes; each begins with a grace
// period, so that every program that chose an endpoint before the change has left its record.

import { gracePeriod } from "libbpf-ts";
import type { Logger } from "pino";
import { type Flow, type FlowTable, isSameFlow } from "../datapath/flows.ts";
import type { BackendRow } from "../datapath/port.ts";
import type { GoneEndpoint } from "../datapath/quench.ts";
import { familyOf } from "../model/address.ts";
import { type Family, PROTOCOL } from "../model/types.ts";
import { type FindOwner, isLost, isStranded, type ServingChange, StrandedFlows } from "../program/serving.ts";
import type { UnitStatus } from "../program/status.ts";
import type { UnitState } from "../program/unit-state.ts";
import { type DeadPeerWays, describeWays } from "./dead-peer-ways.ts";
import { type FailingSends, HOLD_MS } from "./failing-sends.ts";
import type { SocketEnder } from "./socket-ender.ts";

const PASS_EVERY_MS = 100;
const AFTER_FAILURE_MS = 5_000;
/** Lost endpoints kept in mind where records cannot be listed. */
const MOST_LOST = 1_024;
/**
 * When a flow is looked for again. One whose socket is not found may only just be connecting; and a socket that was
 * ended may have been connected again, to the same endpoint, which came back and went once more.
 */
const AGAIN_MS = [100, 400, 1_500, 10_000] as const;

/** One clean-up of one family: what kube-proxy's conntrack reconciler reports. */
export interface DeadPeerRun {
  readonly family: Family;
  readonly durationSec: number;
  readonly ended: number;
  /** Found, and neither ended nor gone by itself yet. */
  readonly left: number;
}

export interface DeadPeersStatus extends DeadPeerWays {
  /** The ways in words. */
  readonly how: string;
  readonly tcp: boolean;
  readonly runs: number;
  readonly ended: Readonly<Record<Family, number>>;
  /** Flows whose endpoint serves no more and whose socket could not be ended (yet). */
  readonly stranded: number;
  /** Endpoints to which sends fail now, and how many have failed. */
  readonly failingEndpoints: number;
  readonly failedSends: number;
  /** What went wrong in the last pass; null if nothing did. */
  readonly failure: string | null;
}

export interface DeadPeersOptions {
  readonly ways: DeadPeerWays;
  readonly table: FlowTable;
  /** The records in sockets' own storage, one after the other; null: they cannot be listed here. */
  readonly listOverflow: (() => Promise<Uint8Array>) | null;
  readonly ender: SocketEnder;
  readonly sends: FailingSends;
  readonly ownerOf: FindOwner;
  readonly backend: (id: number) => BackendRow;
  readonly tcp: boolean;
  readonly log: Logger;
}

/** An endpoint that records may lead to which lie in sockets' own storage and cannot be listed. */
interface LostEndpoint extends GoneEndpoint {
  readonly unit: UnitState;
  readonly untilMs: number;
}

/** A flow on which something was tried. */
interface Tracked {
  readonly flow: Flow;
  tries: number;
  /** On the monotonic clock; Infinity: not again. */
  againMs: number;
  /** Or nowhere to be found although every namespace was looked at. */
  ended: boolean;
  /** Some namespaces could not be looked at. */
  hidden: boolean;
}

export class DeadPeers {
  readonly #options: DeadPeersOptions;
  readonly #due = new Set<UnitState>();
  readonly #tracked = new Map<bigint, Tracked>();
  readonly #ended: Record<Family, number> = { 4: 0, 6: 0 };
  #lost: LostEndpoint[] = [];
  #observer: (run: DeadPeerRun) => void = () => undefined;
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = 0;
  #running: Promise<void> | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #runs = 0;
  #failure: string | null = null;
  #stopped = false;

  constructor(options: DeadPeersOptions) {
    this.#options = options;
  }

  /** Hears of every run from now on. */
  observe(observer: (run: DeadPeerRun) => void): void {
    this.#observer = observer;
  }

  /** Endpoints of these units serve no more, or the first ones serve. */
  changed(changes: Iterable<ServingChange>): void {
    const { tcp, listOverflow, table } = this.#options;
    const unlisted = listOverflow === null && table.overflows;
    for (const change of changes) {
      const { protocol } = change.unit;
      if (protocol === PROTOCOL.UDP || (tcp && protocol === PROTOCOL.TCP)) this.#due.add(change.unit);
      if (protocol === PROTOCOL.UDP && unlisted) this.#lose(change);
    }
    if (this.#due.size > 0) this.#schedule();
  }

  status(): DeadPeersStatus {
    const { ways, tcp, sends } = this.#options;
    return {
      ...ways,
      how: describeWays(ways),
      tcp,
      runs: this.#runs,
      ended: { ...this.#ended },
      stranded: this.#left().length,
      failingEndpoints: sends.endpoints,
      failedSends: sends.failed,
      failure: this.#failure,
    };
  }

  /** Looks for what an earlier agent, or the time without one, left. */
  start(units: Iterable<UnitStatus>): void {
    this.changed([...units].map(({ state }) => ({ unit: state, lostIds: [] })));
  }

  /** Resolves when nothing runs any more; nothing is ended afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
    this.#options.sends.stop();
  }

  /** The next pass, when there is something to do. */
  #schedule(): void {
    if (this.#stopped || this.#running !== null) return;
    const now = performance.now();
    const wanted = this.#due.size > 0 ? now : this.#againMs();
    if (wanted === Number.POSITIVE_INFINITY) return;
    const atMs = Math.max(wanted, this.#lastMs + PASS_EVERY_MS);
    if (this.#timer !== null && this.#timerAtMs <= atMs) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => this.#start(), Math.max(0, atMs - now));
    this.#timer.unref();
  }

  #againMs(): number {
    let { againMs: first } = this.#options.sends;
    for (const { againMs } of this.#tracked.values()) first = Math.min(first, againMs);
    return first;
  }

  #start(): void {
    this.#timer = null;
    this.#lastMs = performance.now();
    this.#running = this.#pass()
      .catch((error: unknown) => {
        this.#lastMs += AFTER_FAILURE_MS;
        this.#note((error as Error).message);
      })
      .finally(() => {
        this.#running = null;
        this.#schedule();
      });
  }

  async #pass(): Promise<void> {
    const startMs = performance.now();
    // Units that change from here on are the next pass': it begins with another grace period.
    const units = [...this.#due];
    this.#due.clear();
    let unlisted: Error | null;
    try {
      await gracePeriod();
      unlisted = await this.#find(units);
    } catch (error) {
      this.#repeat(units);
      throw error;
    }
    this.#dropSettled();
    const ended = await this.#end(unlisted);
    this.#report({ units, ended, durationSec: (performance.now() - startMs) / 1_000 });
    this.#options.sends.fail([...this.#hidden(), ...this.#stillLost()]);
    if (unlisted === null) return;
    this.#repeat(units);
    throw unlisted;
  }

  #repeat(units: readonly UnitState[]): void {
    for (const unit of units) this.#due.add(unit);
  }

  /** Tracks the flows of these units that have lost their endpoint. Gives why those in sockets' storage were not told. */
  async #find(units: readonly UnitState[]): Promise<Error | null> {
    const { table, listOverflow, ownerOf } = this.#options;
    const query = new StrandedFlows(units, ownerOf);
    if (query.isEmpty) return null;
    this.#track(await table.find(query));
    if (!table.overflows || listOverflow === null) return null;
    try {
      this.#track(table.findIn(await listOverflow(), query));
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  #track(found: readonly Flow[]): void {
    for (const flow of found) {
      const known = this.#tracked.get(flow.cookie);
      if (known !== undefined && isSameFlow(known.flow, flow) && known.againMs !== Number.POSITIVE_INFINITY) continue;
      this.#tracked.set(flow.cookie, { flow, tries: 0, againMs: 0, ended: false, hidden: false });
    }
  }

  /** Forgets flows that have moved or may stay; those that no table shows when they have been looked for often enough. */
  #dropSettled(): void {
    const { table, ownerOf } = this.#options;
    for (const [cookie, { flow, againMs }] of this.#tracked) {
      const gone = flow.stored ? againMs === Number.POSITIVE_INFINITY : !table.holds(flow);
      if (gone || !isStranded(flow, ownerOf)) this.#tracked.delete(cookie);
    }
  }

  async #end(unlisted: Error | null): Promise<Flow[]> {
    const startMs = performance.now();
    const tries = [...this.#tracked.values()].filter(({ againMs }) => againMs <= startMs);
    if (tries.length === 0) return [];
    const { ended, everywhere, failure } = await this.#options.ender.end(tries.map(({ flow }) => flow));
    this.#note(unlisted?.message ?? failure);
    const done: Flow[] = [];
    for (const one of tries) {
      const now = ended.has(one.flow.cookie);
      if (now) done.push(one.flow);
      one.ended ||= now;
      // After its end only the last look is left: has it come back?
      const next = one.ended ? Math.max(one.tries, AGAIN_MS.length - 1) : one.tries;
      one.againMs = performance.now() + (AGAIN_MS[next] ?? Number.POSITIVE_INFINITY);
      one.tries = next + 1;
      one.hidden = !everywhere;
      if (everywhere && one.tries > AGAIN_MS.length) one.ended = true;
    }
    return done;
  }

  #lose({ unit, lostIds }: ServingChange): void {
    const untilMs = performance.now() + HOLD_MS;
    for (const id of lostIds.slice(0, MOST_LOST - this.#lost.length)) {
      const { address, port, serviceId } = this.#options.backend(id);
      this.#lost.push({ unit, address: address.slice(), port, serviceId, untilMs });
    }
  }

  /** With none that serves, flows stay; with time, their sockets go. */
  #stillLost(): GoneEndpoint[] {
    const now = performance.now();
    if (!this.#options.table.overflows) this.#lost = [];
    this.#lost = this.#lost.filter(({ untilMs }) => untilMs > now);
    return this.#lost.filter(({ unit, address, port }) => isLost(unit.endpoints, address, port));
  }

  /** Where those UDP flows lead whose socket is where it cannot be ended. */
  #hidden(): GoneEndpoint[] {
    const hidden = this.#left().filter((one) => one.hidden && one.flow.protocol === PROTOCOL.UDP);
    return hidden.map(({ flow: { backendAddress: address, backendPort: port, serviceId } }) => {
      return { address, port, serviceId };
    });
  }

  /** Those whose socket was not ended, wherever it is. */
  #left(): Tracked[] {
    return [...this.#tracked.values()].filter(({ ended }) => !ended);
  }

  /** Said once, however often it happens. */
  #note(failure: string | null): void {
    if (failure !== null && failure !== this.#failure) {
      this.#options.log.warn({ reason: failure }, "not all sockets of endpoints that are gone could be looked for");
    }
    this.#failure = failure;
  }

  #report(run: { units: readonly UnitState[]; ended: readonly Flow[]; durationSec: number }): void {
    const left = this.#left();
    const { durationSec } = run;
    for (const family of [4, 6] as const) {
      const count = (flows: readonly Flow[]) => flows.filter((flow) => familyOf(flow.backendAddress) === family).length;
      const ended = count(run.ended);
      this.#ended[family] += ended;
      if (ended === 0 && !run.units.some((unit) => unit.family === family)) continue;
      this.#runs++;
      this.#observer({ family, durationSec, ended, left: count(left.map(({ flow }) => flow)) });
    }
    if (run.ended.length === 0) return;
    const details = { ended: run.ended.length, left: left.length, ms: Math.round(durationSec * 1_000) };
    this.#options.log.info(details, "sockets ended: their endpoint serves no more");
  }
}
