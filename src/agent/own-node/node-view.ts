// SPDX-License-Identifier: Apache-2.0
// What the Node object says of this node, as it changes: told to whoever acts on it, logged, and waited for at the start
// as kube-proxy does. A Node that is deleted goes on counting as it was last.

import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import type { Config } from "../../config/schema.ts";
import { sameItems, sameNode } from "../../model/equal.ts";
import { nodeFacts } from "../../model/node.ts";
import type { Node, NodeFacts } from "../../model/types.ts";
import { NodeError } from "../../node/node-error.ts";

const WAIT_MS = { address: 30_000, podCidrs: 300_000 };
/** A Node that takes longer to come is told to be waited for. */
const QUIET_MS = 1_000;

export interface NodeViewOptions {
  readonly nodeName: string;
  readonly config: Pick<Config, "bindAddress" | "detectLocalMode">;
  readonly log: Logger;
  /** The facts are others now. */
  readonly onFacts: (facts: NodeFacts) => void;
  /** Whether the source has ever answered: the time that podCIDRs may take does not run before. */
  readonly hasHeard: () => boolean;
  /** NodeCIDR mode: the pods' prefixes changed after they had been acted on. */
  readonly onFatal: (error: NodeError) => void;
  /** How long an address and podCIDRs are waited for; default 30 s and 5 min. */
  readonly waitMs?: { readonly address: number; readonly podCidrs: number };
}

export class NodeView {
  readonly #options: NodeViewOptions;
  readonly #addressed = Promise.withResolvers<void>();
  readonly #hasPodCidrs = Promise.withResolvers<void>();
  #node: Node | null = null;
  #facts: NodeFacts;
  /** What wait() waits for, since when on the monotonic clock, and for how long at most. */
  #wanted: { readonly what: string; readonly sinceMs: number; readonly ms: number } | null = null;

  constructor(options: NodeViewOptions) {
    this.#options = options;
    this.#facts = this.#factsOf(null);
  }

  get facts(): NodeFacts {
    return this.#facts;
  }

  /** What wait() waits for at the moment, in words; null: nothing. */
  get waitsFor(): string | null {
    if (this.#wanted === null) return null;
    const { what, sinceMs, ms } = this.#wanted;
    return `${what}, for ${Math.round((performance.now() - sinceMs) / 1_000)} s of ${ms / 1_000} s`;
  }

  /** What the source says of it; null: it is gone. */
  set(node: Node | null): void {
    const { log, onFacts, onFatal } = this.#options;
    const before = this.#node;
    if (node === null) {
      log.warn({ node: this.#options.nodeName }, "our Node object was deleted: what it said last goes on counting");
      return;
    }
    if (before !== null && sameNode(before, node)) return;
    this.#node = node;
    const facts = this.#factsOf(node);
    this.#log(before, facts);
    if (this.#isNodeCidrMode && before !== null && before.podCidrs.length > 0) {
      if (!sameItems(before.podCidrs, node.podCidrs)) {
        onFatal(new NodeError(`the Node's podCIDRs changed from ${before.podCidrs} to ${node.podCidrs}`));
        return;
      }
    }
    this.#facts = facts;
    onFacts(facts);
    if (node.internalIps.length + node.externalIps.length > 0) this.#addressed.resolve();
    if (node.podCidrs.length > 0) this.#hasPodCidrs.resolve();
  }

  /**
   * Resolves when the Node has an address, or after a while without; in NodeCIDR mode only when it has podCIDRs too.
   * Throws NodeError if those do not come. Rejects with the reason of `stop`.
   */
  async wait(stop: AbortSignal): Promise<void> {
    try {
      await this.#waitForAddress(stop);
      if (this.#isNodeCidrMode) await this.#waitForPodCidrs(stop);
    } finally {
      this.#wanted = null;
    }
  }

  async #waitForAddress(stop: AbortSignal): Promise<void> {
    const { nodeName: node, log, waitMs: { address: ms } = WAIT_MS } = this.#options;
    const what = `the Node object ${node}, and its address`;
    this.#wanted = { what, sinceMs: performance.now(), ms };
    const quietMs = Math.min(QUIET_MS, ms / 2);
    if (await within(this.#addressed.promise, quietMs, stop)) return;
    log.info({ node, seconds: ms / 1_000 }, "waiting for the Node object of this name, and its address");
    if (await within(this.#addressed.promise, ms - quietMs, stop)) return;
    log.warn({ node, seconds: ms / 1_000 }, "no Node object with an address: going on without");
  }

  async #waitForPodCidrs(stop: AbortSignal): Promise<void> {
    const { nodeName: node, hasHeard, waitMs: { podCidrs: ms } = WAIT_MS } = this.#options;
    for (;;) {
      const heard = hasHeard();
      this.#wanted = { what: `podCIDRs of the Node ${node}`, sinceMs: performance.now(), ms };
      if (await within(this.#hasPodCidrs.promise, ms, stop)) return;
      if (heard) throw new NodeError(`Node ${node} has no podCIDRs, which detectLocalMode NodeCIDR needs`);
    }
  }

  get #isNodeCidrMode(): boolean {
    return this.#options.config.detectLocalMode === "NodeCIDR";
  }

  #factsOf(node: Node | null): NodeFacts {
    const { nodeName, config } = this.#options;
    return nodeFacts({ nodeName, bindAddress: config.bindAddress }, node);
  }

  #log(before: Node | null, facts: NodeFacts): void {
    const { log } = this.#options;
    const { nodeName: node, zone, primaryAddresses: addresses, podCidrs } = facts;
    if (before === null) log.info({ node, zone, addresses, podCidrs }, "Node");
    else if (before.zone !== zone || !sameItems(this.#facts.primaryAddresses, addresses)) {
      const was = { zone: before.zone, addresses: this.#facts.primaryAddresses };
      log.info({ node, zone, addresses, was }, "the Node has changed");
    }
  }
}

/** Whether it resolved in time. */
async function within(promise: Promise<void>, ms: number, stop: AbortSignal): Promise<boolean> {
  const timer = new AbortController();
  const signal = AbortSignal.any([stop, timer.signal]);
  const late = after(ms, false, { signal });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    late.catch(() => undefined);
    timer.abort();
  }
}
