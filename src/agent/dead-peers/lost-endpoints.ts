// SPDX-License-Identifier: Apache-2.0
// Endpoints that records may lead to which lie in sockets' own storage and cannot be listed.

import type { BackendRow } from "../../datapath/port.ts";
import type { GoneEndpoint } from "../../datapath/quench.ts";
import { anyServes, isLost, type ServingChange } from "../../program/serving.ts";
import type { UnitState } from "../../program/unit-state.ts";
import { HOLD_MS } from "./failing-sends.ts";

/** Kept in mind at the same time. */
const MOST = 1_024;

/** Until when, on the monotonic clock, it is kept in mind. */
export interface LostEndpoint extends GoneEndpoint {
  readonly unit: UnitState;
  readonly untilMs: number;
}

export class LostEndpoints {
  readonly #backend: (id: number) => BackendRow;
  /** Lost since records were listed last. */
  #fresh: LostEndpoint[] = [];
  #held: LostEndpoint[] = [];

  /** A backend's row, also right after it ceased to serve. */
  constructor(backend: (id: number) => BackendRow) {
    this.#backend = backend;
  }

  /** Right after the change: the rows may be others' later. */
  note({ unit, lostIds }: ServingChange): void {
    const now = performance.now();
    this.#fresh = this.#fresh.filter((lost) => lost.untilMs > now);
    const untilMs = now + HOLD_MS;
    for (const id of lostIds.slice(0, Math.max(0, MOST - this.#held.length - this.#fresh.length))) {
      const { address, port, serviceId } = this.#backend(id);
      this.#fresh.push({ unit, address: address.slice(), port, serviceId, untilMs });
    }
  }

  /** Those lost since the last call; to be given to one of the next three. */
  take(): readonly LostEndpoint[] {
    const taken = this.#fresh;
    this.#fresh = [];
    return taken;
  }

  /** Records were listed: only of units of which nothing serves flows may still have to be found. */
  listed(taken: readonly LostEndpoint[]): void {
    this.giveBack(taken.filter(({ unit }) => !anyServes(unit.endpoints)));
  }

  /** Listing records failed this time. */
  giveBack(taken: readonly LostEndpoint[]): void {
    this.#fresh = [...taken, ...this.#fresh];
  }

  /** Records cannot be listed. */
  unlisted(taken: readonly LostEndpoint[]): void {
    this.#held.push(...taken);
  }

  clear(): void {
    this.#fresh = [];
    this.#held = [];
  }

  /** With none that serves, flows stay; with time, their sockets go. */
  *held(): Generator<GoneEndpoint> {
    const now = performance.now();
    this.#held = this.#held.filter(({ untilMs }) => untilMs > now);
    for (const lost of this.#held) if (isLost(lost.unit.endpoints, lost.address, lost.port)) yield lost;
  }
}
