// SPDX-License-Identifier: Apache-2.0
// Stranded flows on which something was tried: when each is looked for again, which are given up on, and where those
// lead whose socket is where it cannot be ended. Counts are kept as flows change, and what walks all of them does so a
// few milliseconds at a time, since they may be very many.

import { type Flow, isSameFlow } from "../../datapath/flows.ts";
import type { GoneEndpoint } from "../../datapath/quench.ts";
import { Turns } from "../../datapath/turns.ts";
import { familyOf } from "../../model/address.ts";
import { type Family, PROTOCOL } from "../../model/types.ts";
import { endpointKey } from "./failing-sends.ts";

/**
 * When a flow is looked for again. One whose socket is not found may only just be connecting; and a socket that was
 * ended may have been connected again, to the same endpoint, which came back and went once more.
 */
const AGAIN_MS = [100, 400, 1_500, 10_000] as const;
/** How long one sweep takes at most; the next goes on where it ended. */
const SWEEP_MS = 10;

export interface Tracked {
  readonly flow: Flow;
  /** In which it waits for its next try; null: there is none. */
  readonly batch: Batch | null;
  readonly tries: number;
  /** Ended, or given up on: remembered until its record changes or its endpoint is lost once more. */
  readonly settled: boolean;
  /** Some namespaces could not be looked at. */
  readonly hidden: boolean;
  /** In which listing of sockets' own storage it was seen last. */
  readonly listing: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Batch {
  /** On the monotonic clock. */
  readonly againMs: number;
  readonly flows: Mutable<Tracked>[];
}

/** What is known about flows just found. */
export interface Found {
  /** Backends that ceased to serve since flows of their units were last looked for, by lossKey(). */
  readonly lost: ReadonlySet<number>;
  readonly listing: number;
}

/** One for each backend, also of those that had the same id: by the generation that records name it with, an even one. */
export const lossKey = ({ backendId, generation }: Pick<Flow, "backendId" | "generation">): number =>
  backendId * 2 ** 32 + generation;

export interface Outcome {
  readonly ended: boolean;
  readonly everywhere: boolean;
  readonly nowMs: number;
}

type Forget = (one: Tracked) => boolean;

export class TrackedFlows {
  readonly #flows = new Map<bigint, Mutable<Tracked>>();
  readonly #hidden = new Map<string, { readonly endpoint: GoneEndpoint; flows: number }>();
  readonly #left: Record<Family, number> = { 4: 0, 6: 0 };
  #batches: Batch[] = [];
  #cursor: Iterator<Mutable<Tracked>> | null = null;

  /** Those whose socket was not ended, wherever it is. */
  get left(): Readonly<Record<Family, number>> {
    return this.#left;
  }

  /** When the next try is due, on the monotonic clock; Infinity: never. */
  get againMs(): number {
    return this.#batches.reduce((first, { againMs }) => Math.min(first, againMs), Number.POSITIVE_INFINITY);
  }

  /** Where those UDP flows lead whose socket is where it cannot be ended. Each once. */
  *hidden(): Generator<GoneEndpoint> {
    for (const { endpoint } of this.#hidden.values()) yield endpoint;
  }

  /** Flows that were found are tried at once, unless they are known and their endpoint was not lost anew. */
  async add(found: readonly Flow[], { lost, listing }: Found): Promise<void> {
    const turns = new Turns();
    const batch: Batch = { againMs: 0, flows: [] };
    this.#batches.push(batch);
    for (const flow of found) {
      if (turns.isOver()) await turns.next();
      const known = this.#flows.get(flow.cookie);
      if (known !== undefined && isSameFlow(known.flow, flow) && known.flow.stored === flow.stored) {
        known.listing = listing;
        if (!lost.has(lossKey(flow))) continue;
      }
      if (known !== undefined) this.#forget(known);
      const one = { flow, batch, tries: 0, settled: false, hidden: false, listing };
      batch.flows.push(one);
      this.#flows.set(flow.cookie, one);
      this.#count(one, 1);
    }
  }

  /** Those that are due, without those that are to be forgotten. */
  async take(nowMs: number, forget: Forget): Promise<Tracked[]> {
    const due = this.#batches.filter(({ againMs }) => againMs <= nowMs);
    this.#batches = this.#batches.filter(({ againMs }) => againMs > nowMs);
    const taken: Tracked[] = [];
    const turns = new Turns();
    for (const batch of due) {
      for (const one of batch.flows) {
        if (turns.isOver()) await turns.next();
        if (one.batch !== batch) continue;
        one.batch = null;
        if (forget(one)) this.#forget(one);
        else taken.push(one);
      }
    }
    return taken;
  }

  /** One that was taken was looked for. */
  tried(tracked: Tracked, { ended, everywhere, nowMs }: Outcome): void {
    const one: Mutable<Tracked> = tracked;
    this.#count(one, -1);
    // After its end only the last look is left: has it come back?
    const isEnded = ended || one.settled;
    const next = isEnded ? Math.max(one.tries, AGAIN_MS.length - 1) : one.tries;
    const delayMs = AGAIN_MS[next];
    one.tries = next + 1;
    one.hidden = !everywhere;
    // No table says when a record in a socket's own storage goes.
    one.settled = isEnded || (delayMs === undefined && (everywhere || one.flow.stored));
    if (delayMs !== undefined) this.#wait(one, nowMs + delayMs);
    this.#count(one, 1);
  }

  /** Some of them are looked at, for some milliseconds: those to be forgotten are. */
  async sweep(forget: Forget): Promise<void> {
    const endMs = performance.now() + SWEEP_MS;
    await this.#sweep(forget, () => performance.now() > endMs);
  }

  /** As sweep(), of all. */
  async sweepAll(forget: Forget): Promise<void> {
    this.#cursor = null;
    await this.#sweep(forget, () => false);
  }

  async #sweep(forget: Forget, isOver: () => boolean): Promise<void> {
    const turns = new Turns();
    this.#cursor ??= this.#flows.values();
    for (let next = this.#cursor.next(); next.done !== true; next = this.#cursor.next()) {
      if (forget(next.value)) this.#forget(next.value);
      if (!turns.isOver()) continue;
      if (isOver()) return;
      await turns.next();
    }
    this.#cursor = null;
  }

  #wait(one: Mutable<Tracked>, againMs: number): void {
    let batch = this.#batches.findLast((each) => each.againMs === againMs);
    if (batch === undefined) {
      batch = { againMs, flows: [] };
      this.#batches.push(batch);
    }
    batch.flows.push(one);
    one.batch = batch;
  }

  #forget(one: Mutable<Tracked>): void {
    one.batch = null;
    this.#flows.delete(one.flow.cookie);
    this.#count(one, -1);
  }

  #count({ flow, settled, hidden }: Tracked, by: 1 | -1): void {
    if (settled) return;
    this.#left[familyOf(flow.backendAddress)] += by;
    if (!hidden || flow.protocol !== PROTOCOL.UDP) return;
    const endpoint = { address: flow.backendAddress, port: flow.backendPort, serviceId: flow.serviceId };
    const key = endpointKey(endpoint);
    const known = this.#hidden.get(key) ?? { endpoint, flows: 0 };
    known.flows += by;
    if (known.flows === 0) this.#hidden.delete(key);
    else this.#hidden.set(key, known);
  }
}
