// SPDX-License-Identifier: Apache-2.0
// Sockets connected to endpoints that serve no more: found by their records and ended, so that the application notices
// and connects anew. Each pass (passes.ts says when) begins with a grace period, so that every program that chose an
// endpoint before the change has left its record.

import { BpfError, gracePeriod } from "libbpf-ts";
import type { Logger } from "pino";
import type { FlowTable } from "../../datapath/flows.ts";
import type { BackendRow } from "../../datapath/port.ts";
import type { GoneEndpoint } from "../../datapath/quench.ts";
import { Turns } from "../../datapath/turns.ts";
import { familyOf } from "../../model/address.ts";
import { type Family, PROTOCOL } from "../../model/types.ts";
import { anyServes, type FindOwner, isStranded, type ServingChange, StrandedFlows } from "../../program/serving.ts";
import type { UnitStatus } from "../../program/status.ts";
import type { UnitState } from "../../program/unit-state.ts";
import { type FailingSends, HOLD_MS } from "./failing-sends.ts";
import { type LostEndpoint, LostEndpoints } from "./lost-endpoints.ts";
import { Passes } from "./passes.ts";
import type { SocketEnder } from "./socket-ender.ts";
import { lossKey, type Tracked, TrackedFlows } from "./tracked-flows.ts";
import { type DeadPeerWays, describeWays } from "./ways.ts";

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

/** Units whose flows are looked for, with the backends (lossKey) that ceased to serve since they were last. */
type Due = Map<UnitState, Set<number>>;

export class DeadPeers {
  readonly #options: DeadPeersOptions;
  readonly #passes: Passes;
  readonly #tracked = new TrackedFlows();
  readonly #lost: LostEndpoints;
  readonly #due: Due = new Map();
  /** As #due, for units of which nothing serves: their flows are looked for when something does. */
  readonly #waiting = new WeakMap<UnitState, Set<number>>();
  readonly #ended: Record<Family, number> = { 4: 0, 6: 0 };
  readonly #failures = { pass: null as string | null, listing: null as string | null, ending: null as string | null };
  /** Records in sockets' own storage are too many to be listed: not tried before, on the monotonic clock. */
  #tooManyUntilMs = Number.NEGATIVE_INFINITY;
  #listing = 0;
  #observer: (run: DeadPeerRun) => void = () => undefined;
  #runs = 0;
  #told: string | null = null;

  constructor(options: DeadPeersOptions) {
    this.#options = options;
    this.#passes = new Passes({
      pass: () => this.#pass(),
      wantedMs: () => this.#wantedMs(),
      onEnd: (failure) => this.#note("pass", failure),
    });
    this.#lost = new LostEndpoints(options.backend);
  }

  /** Hears of every run from now on. */
  observe(observer: (run: DeadPeerRun) => void): void {
    this.#observer = observer;
  }

  /** Endpoints of these units serve no more, or the first ones serve. */
  changed(changes: Iterable<ServingChange>): void {
    const { tcp, table } = this.#options;
    for (const change of changes) {
      const { protocol } = change.unit;
      if (protocol === PROTOCOL.UDP || (tcp && protocol === PROTOCOL.TCP))
        this.#ask(change.unit, this.#lossesOf(change));
      if (protocol === PROTOCOL.UDP && table.overflows) this.#lost.note(change);
    }
    if (this.#due.size > 0) this.#passes.wake();
  }

  status(): DeadPeersStatus {
    const { ways, tcp, sends } = this.#options;
    const { left } = this.#tracked;
    return {
      ...ways,
      how: describeWays(ways),
      tcp,
      runs: this.#runs,
      ended: { ...this.#ended },
      stranded: left[4] + left[6],
      failingEndpoints: sends.endpoints,
      failedSends: sends.failed,
      failure: this.#failure(),
    };
  }

  /** Looks for what an earlier agent, or the time without one, left. */
  start(units: Iterable<UnitStatus>): void {
    this.changed([...units].map(({ state }) => ({ unit: state, lostIds: [] })));
  }

  /** Resolves when nothing runs any more; nothing is ended afterwards. */
  async stop(): Promise<void> {
    await this.#passes.stop();
    this.#options.sends.stop();
  }

  /** Right after the change: the rows may be others' later. */
  #lossesOf({ lostIds }: ServingChange): number[] {
    const { backend, sends } = this.#options;
    return lostIds.map((backendId) => {
      const row = backend(backendId);
      sends.renew(row);
      return lossKey({ backendId, generation: (row.generation & ~1) >>> 0 });
    });
  }

  #ask(unit: UnitState, losses: Iterable<number>): void {
    const lost = this.#due.get(unit) ?? this.#waiting.get(unit) ?? new Set();
    for (const loss of losses) lost.add(loss);
    this.#due.set(unit, lost);
  }

  /** At once when there is something to do, else when something is to be looked at again. */
  #wantedMs(): number {
    if (this.#due.size > 0) return performance.now();
    return Math.min(this.#options.sends.againMs, this.#tracked.againMs);
  }

  async #pass(): Promise<void> {
    const startMs = performance.now();
    // Units that change from here on are the next pass': it begins with another grace period.
    const due = new Map(this.#due);
    this.#due.clear();
    let unlisted: Error | null;
    try {
      unlisted = due.size > 0 ? await this.#find(due) : null;
    } catch (error) {
      this.#repeat(due);
      throw error;
    }
    await this.#tracked.sweep((one) => this.#isOver(one));
    const ended = await this.#end();
    this.#report({ due, ended, durationSec: (performance.now() - startMs) / 1_000 });
    if (!this.#options.table.overflows) this.#forgetStorage();
    await this.#options.sends.fail(this.#failing());
    if (unlisted === null) return;
    this.#repeat(due);
    throw unlisted;
  }

  /** No record lies in sockets' own storage any more. */
  #forgetStorage(): void {
    this.#lost.clear();
    this.#tooManyUntilMs = Number.NEGATIVE_INFINITY;
    this.#note("listing", null);
  }

  #repeat(due: Due): void {
    for (const [unit, losses] of due) this.#ask(unit, losses);
  }

  /** Tracks the flows of these units that have lost their endpoint. Gives why those in sockets' storage were not told. */
  async #find(due: Due): Promise<Error | null> {
    const { table, ownerOf } = this.#options;
    await gracePeriod();
    const lost = this.#lostNow(due);
    const query = new StrandedFlows(due.keys(), ownerOf);
    if (query.isEmpty) return null;
    await this.#tracked.add(await table.find(query), { lost, listing: this.#listing });
    if (!table.overflows) return null;
    return await this.#findStored(query, lost);
  }

  /** Of units of which nothing serves, they are kept until something does. */
  #lostNow(due: Due): Set<number> {
    const lost = new Set<number>();
    for (const [unit, losses] of due) {
      if (!anyServes(unit.endpoints)) {
        this.#waiting.set(unit, losses);
        continue;
      }
      this.#waiting.delete(unit);
      for (const loss of losses) lost.add(loss);
    }
    return lost;
  }

  async #findStored(query: StrandedFlows, lost: ReadonlySet<number>): Promise<Error | null> {
    const { table, listOverflow } = this.#options;
    const unlisted = this.#lost.take();
    const tooMany = performance.now() < this.#tooManyUntilMs;
    if (listOverflow === null || tooMany) {
      this.#lost.unlisted(unlisted);
      return null;
    }
    try {
      const found = await table.findIn(await listOverflow(), query);
      const listing = ++this.#listing;
      await this.#tracked.add(found, { lost, listing });
      const isGone = ({ settled, flow, listing: seen }: Tracked) => settled && flow.stored && seen !== listing;
      await this.#tracked.sweepAll((one) => isGone(one) && query.matches(one.flow));
      this.#lost.listed(unlisted);
      this.#note("listing", null);
      return null;
    } catch (error) {
      return this.#unlisted(error as Error, unlisted);
    }
  }

  /** Too many will be too many in five seconds too: until some time has passed, sends to lost endpoints fail instead. */
  #unlisted(error: Error, lost: readonly LostEndpoint[]): Error | null {
    if (!(error instanceof BpfError) || error.code !== "EFBIG") {
      this.#lost.giveBack(lost);
      return error;
    }
    this.#lost.unlisted(lost);
    this.#tooManyUntilMs = performance.now() + HOLD_MS;
    this.#note("listing", `records in sockets' own storage are too many: ${error.message}`);
    return null;
  }

  /** Whether a flow is to be forgotten: it has moved or may stay, or no table shows it. */
  #isOver({ flow, settled }: Tracked): boolean {
    const { table, ownerOf } = this.#options;
    if (flow.stored ? settled && !table.overflows : !table.holds(flow)) return true;
    return !settled && !isStranded(flow, ownerOf);
  }

  async #end(): Promise<Record<Family, number>> {
    const { ender, ownerOf } = this.#options;
    const counts: Record<Family, number> = { 4: 0, 6: 0 };
    const tries = await this.#tracked.take(performance.now(), (one) => this.#isOver(one));
    if (tries.length === 0) return counts;
    const { ended, everywhere, failure } = await ender.end(
      tries.map(({ flow }) => flow),
      { isStranded: (flow) => isStranded(flow, ownerOf), isStopped: () => this.#passes.isStopped },
    );
    this.#note("ending", failure);
    const turns = new Turns();
    const nowMs = performance.now();
    for (const one of tries) {
      if (turns.isOver()) await turns.next();
      const isEnded = ended.has(one.flow.cookie);
      if (isEnded) counts[familyOf(one.flow.backendAddress)]++;
      this.#tracked.tried(one, { ended: isEnded, everywhere, nowMs });
    }
    return counts;
  }

  *#failing(): Generator<GoneEndpoint> {
    yield* this.#tracked.hidden();
    yield* this.#lost.held();
  }

  #failure(): string | null {
    const { pass, listing, ending } = this.#failures;
    return pass ?? listing ?? ending;
  }

  /** Said once, however often it happens. */
  #note(where: "pass" | "listing" | "ending", failure: string | null): void {
    this.#failures[where] = failure;
    const reason = this.#failure();
    if (reason !== null && reason !== this.#told) {
      this.#options.log.warn({ reason }, "not all sockets of endpoints that are gone could be looked for");
    }
    this.#told = reason;
  }

  #report(run: { due: Due; ended: Record<Family, number>; durationSec: number }): void {
    const { left } = this.#tracked;
    const { durationSec } = run;
    const asked = new Set([...run.due.keys()].map(({ family }) => family));
    for (const family of [4, 6] as const) {
      const ended = run.ended[family];
      this.#ended[family] += ended;
      if (ended === 0 && !asked.has(family)) continue;
      this.#runs++;
      this.#observer({ family, durationSec, ended, left: left[family] });
    }
    const ended = run.ended[4] + run.ended[6];
    if (ended === 0) return;
    const details = { ended, left: left[4] + left[6], ms: Math.round(durationSec * 1_000) };
    this.#options.log.info(details, "sockets ended: their endpoint serves no more");
  }
}
