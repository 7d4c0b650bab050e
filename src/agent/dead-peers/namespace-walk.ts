// SPDX-License-Identifier: Apache-2.0
// One act in each network namespace of the node: our own, those with a name, those of processes. One that takes its time
// does not keep the others waiting.

import { setTimeout as sleep } from "node:timers/promises";
import { BpfError } from "libbpf-ts";
import { NetlinkError } from "../../node/netlink.ts";
import { NamespaceSearch } from "../../node/netns.ts";

/** How long the next namespace waits for the one before. */
const PATIENCE_MS = 100;
/** Namespaces that may be late at the same time: each takes one of few worker threads. */
const MOST_LATE = 2;

/** In one network namespace; null: this process'. */
type Act = (netns: string | null) => Promise<void>;

export interface WalkOptions {
  /** Whether other network namespaces may be entered. */
  readonly everywhere: boolean;
  readonly isDone: () => boolean;
}

export interface Walked {
  /** Every network namespace of the node was looked at. */
  readonly everywhere: boolean;
  /** What went wrong last; null if nothing did. */
  readonly failure: string | null;
}

/** Until it is done. A namespace that is gone is no failure. */
export async function walkNamespaces(act: Act, options: WalkOptions): Promise<Walked> {
  const walk = new Walk(act, options.isDone);
  try {
    await walk.visit([null]);
    if (!options.everywhere) return { everywhere: false, failure: await walk.end() };
    const search = new NamespaceSearch();
    if (!options.isDone()) await walk.visit(search.named());
    if (!options.isDone()) await walk.visit(await search.ofProcesses());
    const failure = await walk.end();
    return { everywhere: failure === null && search.isComplete, failure };
  } finally {
    await walk.end();
  }
}

class Walk {
  readonly #act: Act;
  readonly #isDone: () => boolean;
  readonly #late = new Set<Promise<void>>();
  #failure: string | null = null;
  /** Errors that no namespace explains. */
  readonly #broken: unknown[] = [];

  constructor(act: Act, isDone: () => boolean) {
    this.#act = act;
    this.#isDone = isDone;
  }

  async visit(namespaces: readonly (string | null)[]): Promise<void> {
    for (const netns of namespaces) {
      if (this.#isDone() || this.#broken.length > 0) return;
      const visit = this.#attempt(netns).finally(() => this.#late.delete(visit));
      this.#late.add(visit);
      await within(visit, PATIENCE_MS);
      if (this.#late.size >= MOST_LATE) await Promise.race(this.#late);
    }
  }

  /** Waits for those that are late. What went wrong last. */
  async end(): Promise<string | null> {
    await Promise.all(this.#late);
    if (this.#broken.length > 0) throw this.#broken[0];
    return this.#failure;
  }

  /** Never rejects: nobody may be listening when one that is late does. */
  async #attempt(netns: string | null): Promise<void> {
    try {
      await this.#act(netns);
    } catch (error) {
      if (!(error instanceof BpfError) && !(error instanceof NetlinkError)) {
        this.#broken.push(error);
        return;
      }
      const gone = error instanceof BpfError && netns !== null && (error.code === "ENOENT" || error.code === "EINVAL");
      if (!gone) this.#failure = `${netns ?? "own network namespace"}: ${error.message}`;
    }
  }
}

async function within(visit: Promise<void>, ms: number): Promise<void> {
  const patience = new AbortController();
  const over = sleep(ms, undefined, { signal: patience.signal }).catch(() => undefined);
  await Promise.race([visit, over]);
  patience.abort();
}
