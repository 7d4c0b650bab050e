// SPDX-License-Identifier: Apache-2.0
// Who gets a frontend that several Services claim? The oldest (creation time, then namespace/name), whatever the order
// of events and through restarts. Remembers every claim, so that the next in line gets it when the winner goes.

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

export class Claims {
  readonly #claimants = new Map<ServiceKey, Claimant>();
  /** The claimants of each claim, the winner first. */
  readonly #holders = new Map<string, Few<Claimant>>();

  /** The Service that holds the claim. */
  winner(claim: string): ServiceKey | undefined {
    return listOf(this.#holders.get(claim))[0]?.key;
  }

  /**
   * Sets what one Service claims, in the place of what it claimed before (no claims: it is forgotten). Adds to
   * `affected` the other Services that claim something whose winner changed by that.
   */
  set(after: Claimant, affected: Set<ServiceKey>): void {
    const before = this.#claimants.get(after.key);
    if (sameItems(before?.claims ?? [], after.claims) && (before?.createdMs ?? after.createdMs) === after.createdMs)
      return;
    if (after.claims.length === 0) this.#claimants.delete(after.key);
    else this.#claimants.set(after.key, after);
    const claims = new Set(after.claims);
    for (const claim of new Set([...(before?.claims ?? []), ...claims])) {
      const winner = this.winner(claim);
      this.#swap(claim, before, claims.has(claim) ? after : undefined);
      if (this.winner(claim) === winner) continue;
      for (const { key } of listOf(this.#holders.get(claim))) if (key !== after.key) affected.add(key);
    }
  }

  #swap(claim: string, before: Claimant | undefined, after: Claimant | undefined): void {
    const others = listOf(this.#holders.get(claim)).filter((holder) => holder !== before);
    const holders = after === undefined ? others : others.concat(after);
    holders.sort((a, b) => a.createdMs - b.createdMs || (a.key < b.key ? -1 : 1));
    if (holders.length === 0) this.#holders.delete(claim);
    else this.#holders.set(claim, fewOf(holders));
  }
}
