// SPDX-License-Identifier: Apache-2.0
// Now and then, whether the sockets with records still are: those of which nobody tells their end would keep their places
// for ever. Only where every network namespace can be looked at, since a socket that is not found is taken for gone.

import type { Logger } from "pino";
import type { Places, StaleRecords } from "../../datapath/stale-records.ts";
import { PROTOCOL } from "../../model/types.ts";
import { connectedSockets } from "../../node/sock-diag.ts";
import { walkNamespaces } from "./namespace-walk.ts";

const EVERY_MS = 600_000;

/** Cookies of the node's TCP sockets that have a peer; null: there may be others. */
export type ListSockets = () => Promise<ReadonlySet<bigint> | null>;

export class RecordSweep implements AsyncDisposable {
  readonly #records: StaleRecords;
  readonly #list: ListSockets;
  readonly #log: Logger;
  /** Of the last look. */
  #before: Places = new Map();
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: { records: StaleRecords; list: ListSockets; log: Logger }) {
    this.#records = parts.records;
    this.#list = parts.list;
    this.#log = parts.log;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running = this.#lookAndTell();
    }, EVERY_MS);
    this.#timer.unref();
  }

  /** Frees the records that were there at the last look too, and whose socket is gone. Returns how many. */
  async look(): Promise<number> {
    const places = await this.#records.places();
    const old = new Map([...places].filter(([place, cookie]) => this.#before.get(place) === cookie));
    this.#before = places;
    if (old.size === 0) return 0;
    // Sockets are listed after their records: one that comes meanwhile is none of these.
    const live = await this.#list();
    if (live === null) return 0;
    return await this.#records.free(new Map([...old].filter(([, cookie]) => !live.has(cookie))));
  }

  async #lookAndTell(): Promise<void> {
    try {
      const freed = await this.look();
      if (freed > 0) this.#log.info({ freed }, "records of sockets whose end nobody told are freed");
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, "records could not be looked through");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#running;
  }
}

export async function listSockets(): Promise<ReadonlySet<bigint> | null> {
  const live = new Set<bigint>();
  const { everywhere } = await walkNamespaces(
    async (netns) => {
      for await (const { cookie } of connectedSockets({ protocol: PROTOCOL.TCP, netns })) live.add(cookie);
    },
    { everywhere: true, isDone: () => false },
  );
  return everywhere ? live : null;
}
