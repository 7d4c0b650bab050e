// SPDX-License-Identifier: Apache-2.0
// For sockets that cannot be ended: for how long what they send to their lost endpoint fails. The program that does it
// runs for every packet of the node, so it is there no longer than needed, and for no endpoint longer than HOLD_MS.

import type { GoneEndpoint, Quench } from "../../datapath/quench.ts";
import { Turns } from "../../datapath/turns.ts";

/** How long a socket may take to send once more. */
export const HOLD_MS = 300_000;
/** How often it is asked whether it is still needed. */
const LOOK_MS = 1_000;

interface Held {
  readonly endpoint: GoneEndpoint;
  readonly untilMs: number;
}

export class FailingSends {
  readonly #quench: Quench | null;
  readonly #holdMs: number;
  readonly #held = new Map<string, Held>();
  /** Held for their time: not taken up again while they are asked for. */
  readonly #over = new Set<string>();

  /** Null: there is no such program here, and nothing fails. */
  constructor(quench: Quench | null, holdMs: number) {
    this.#quench = quench;
    this.#holdMs = holdMs;
  }

  /** How many endpoints sends to which fail now. */
  get endpoints(): number {
    return this.#held.size;
  }

  /** Sends failed so far. */
  get failed(): number {
    return Number(this.#quench?.failedSends ?? 0n);
  }

  /** When fail() is to be called again, on the monotonic clock. */
  get againMs(): number {
    return this.#held.size > 0 ? performance.now() + LOOK_MS : Number.POSITIVE_INFINITY;
  }

  /** What connected sockets send to these fails, and to no others. One call at a time. Rejects with BpfError. */
  async fail(endpoints: Iterable<GoneEndpoint>): Promise<void> {
    if (this.#quench === null) return;
    const turns = new Turns();
    const now = performance.now();
    const wanted = new Map<string, GoneEndpoint>();
    for (const endpoint of endpoints) {
      wanted.set(endpointKey(endpoint), endpoint);
      if (turns.isOver()) await turns.next();
    }
    for (const key of this.#over) if (!wanted.has(key)) this.#over.delete(key);
    for (const [key, { endpoint, untilMs }] of this.#held) {
      if (turns.isOver()) await turns.next();
      if (wanted.has(key) && untilMs > now) continue;
      this.#quench.remove(endpoint);
      this.#held.delete(key);
      if (wanted.has(key)) this.#over.add(key);
    }
    for (const [key, endpoint] of wanted) {
      if (turns.isOver()) await turns.next();
      if (this.#held.size >= this.#quench.room) break;
      if (this.#held.has(key) || this.#over.has(key)) continue;
      this.#quench.add([endpoint]);
      this.#held.set(key, { endpoint, untilMs: now + this.#holdMs });
    }
    if (this.#held.size === 0) this.#quench.detach();
  }

  /** The endpoint was lost once more: its time begins anew. */
  renew(endpoint: GoneEndpoint): void {
    if (this.#over.size > 0) this.#over.delete(endpointKey(endpoint));
  }

  stop(): void {
    this.#quench?.[Symbol.dispose]();
  }
}

/** One for each. */
export const endpointKey = ({ address, port, serviceId }: GoneEndpoint): string =>
  `${Buffer.from(address).toString("hex")}|${port}|${serviceId}`;
