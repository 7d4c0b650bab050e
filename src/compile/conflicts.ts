// SPDX-License-Identifier: Apache-2.0
// Who gets a frontend that several Services claim? The oldest (creation time, then namespace/name), whatever the order
// of events and through restarts. Remembers every claim, so that the next in line gets it when the winner goes; but no
// more than so many: a Service that comes when there is no room waits, and claims nothing.

import { sameItems } from "../model/equal.ts";
import { type Few, fewOf, listOf } from "../model/few.ts";
import type { ServiceKey } from "../model/types.ts";

/** What one Service claims. */
export interface Claimant {
  readonly key: ServiceKey;
  readonly createdMs: number;
  /** Candidate.claim of every frontend it asks for, each once. */
  readonly claims: readonly string[];
}

/** A claimant as it is remembered. */
interface Holder {
  readonly key: ServiceKey;
  readonly createdMs: number;
  readonly claims: Few<string>;
}

/** A Service there was no room for. */
interface Waiting {
  readonly key: ServiceKey;
  readonly createdMs: number;
  readonly count: number;
}

export class Claims {
  readonly #most: number;
  #total = 0;
  #isRoomier = false;
  readonly #waiting = new Map<ServiceKey, Waiting>();
  readonly #claimants = new Map<ServiceKey, Holder>();
  /** The claimants of each claim, the winner first. */
  readonly #holders = new Map<string, Few<Holder>>();

  constructor(most: number) {
    this.#most = most;
  }

  /** How many claims the Service would have if there were room; 0: it has what it claims. */
  missing(key: ServiceKey): number {
    return this.#waiting.get(key)?.count ?? 0;
  }

  /** Those that waited and fit into what became free since the last time, the oldest first. */
  fitting(): readonly ServiceKey[] {
    const isRoomier = this.#isRoomier;
    this.#isRoomier = false;
    if (!isRoomier || this.#waiting.size === 0) return [];
    let room = this.#most - this.#total;
    const fits = ({ count }: Waiting): boolean => {
      if (count > room) return false;
      room -= count;
      return true;
    };
    return [...this.#waiting.values()]
      .sort(byAge)
      .filter(fits)
      .map(({ key }) => key);
  }

  /** The Service that holds the claim. */
  winner(claim: string): ServiceKey | undefined {
    return listOf(this.#holders.get(claim))[0]?.key;
  }

  /**
   * Sets what one Service claims, in the place of what it claimed before (no claims: it is forgotten). Adds to
   * `affected` the other Services that claim something whose winner changed by that.
   */
  set(wanted: Claimant, affected: Set<ServiceKey>): void {
    const { key, createdMs } = wanted;
    const before = this.#claimants.get(key);
    const count = wanted.claims.length;
    const fits = count === 0 || this.#total - listOf(before?.claims).length + count <= this.#most;
    if (fits) this.#waiting.delete(key);
    else this.#waiting.set(key, { key, createdMs, count });
    this.#replace(before, fits ? wanted : { ...wanted, claims: [] }, affected);
  }

  #replace(before: Holder | undefined, { key, createdMs, claims }: Claimant, affected: Set<ServiceKey>): void {
    const old = listOf(before?.claims);
    if (sameItems(old, claims) && (before?.createdMs ?? createdMs) === createdMs) return;
    const more = claims.length - old.length;
    this.#total += more;
    this.#isRoomier ||= more < 0;
    const after: Holder = { key, createdMs, claims: fewOf(claims) };
    if (claims.length === 0) this.#claimants.delete(key);
    else this.#claimants.set(key, after);
    const now = new Set(claims);
    for (const claim of new Set([...old, ...now])) {
      const winner = this.winner(claim);
      this.#swap(claim, before, now.has(claim) ? after : undefined);
      if (this.winner(claim) === winner) continue;
      for (const other of listOf(this.#holders.get(claim))) if (other.key !== key) affected.add(other.key);
    }
  }

  #swap(claim: string, before: Holder | undefined, after: Holder | undefined): void {
    const others = listOf(this.#holders.get(claim)).filter((holder) => holder !== before);
    const holders = after === undefined ? others : others.concat(after);
    holders.sort(byAge);
    if (holders.length === 0) this.#holders.delete(claim);
    else this.#holders.set(claim, fewOf(holders));
  }
}

type Aged = Pick<Claimant, "key" | "createdMs">;

function byAge(a: Aged, b: Aged): number {
  return a.createdMs - b.createdMs || (a.key < b.key ? -1 : 1);
}
