// SPDX-License-Identifier: Apache-2.0
// Is this node's proxy healthy, by kube-proxy's definition: no family has had a change waiting for longer than two sync
// periods. It says nothing of the API server: whoever serves what it knows is healthy.

import type { Family, Node } from "../model/types.ts";
import { goTime } from "./go-time.ts";

export const FAMILY_NAME: Readonly<Record<Family, "IPv4" | "IPv6">> = { 4: "IPv4", 6: "IPv6" };

export interface ProxyHealthOptions {
  /** The families this node serves. */
  readonly families: readonly Family[];
  readonly syncPeriodSec: number;
  /** True where no Node object can ever say otherwise. */
  readonly nodeEligible: boolean;
}

/** One family's times: monotonic for how long, wall clock for people. */
interface FamilyState {
  syncedMs: number;
  /** Since when a change waits, on the monotonic clock; null: none does. */
  waitingSince: number | null;
}

export class ProxyHealth {
  readonly #options: ProxyHealthOptions;
  readonly #states = new Map<Family, FamilyState>();
  #nodeEligible: boolean;

  constructor(options: ProxyHealthOptions) {
    this.#options = options;
    this.#nodeEligible = options.nodeEligible;
  }

  /** The sync loop starts: that counts as a sync, so that whoever has not synced yet is healthy. */
  started(): void {
    for (const family of this.#options.families) this.synced(family);
  }

  /** Something came that asks for a sync. */
  queued(family: Family): void {
    const state = this.#states.get(family);
    if (state !== undefined) state.waitingSince ??= performance.now();
  }

  /** All that was asked for is in the kernel. */
  synced(family: Family): void {
    this.#states.set(family, { syncedMs: Date.now(), waitingSince: null });
  }

  /** Null: it was deleted, and the last word on it stands. */
  setNode(node: Node | null): void {
    if (node !== null) this.#nodeEligible = !node.deleting && !node.excluded;
  }

  get healthy(): boolean {
    return [...this.#states.values()].every((state) => this.#isHealthy(state));
  }

  /** The answer is 200: for /healthz the node must be eligible, too. */
  isWell(kind: "healthz" | "livez"): boolean {
    return this.healthy && (kind === "livez" || this.#nodeEligible);
  }

  /** The answer's body: of /healthz with, of /livez without the word on the node. */
  body(kind: "healthz" | "livez"): string {
    const now = Date.now();
    const { healthy } = this;
    const states = [...this.#states].sort(([a], [b]) => a - b);
    // Whoever is well says "just now": load balancers go by that.
    const last =
      this.isWell(kind) || states.length === 0 ? now : Math.max(...states.map(([, { syncedMs }]) => syncedMs));
    const status = states.map(([family, state]) => {
      return [FAMILY_NAME[family], { lastUpdated: goTime(state.syncedMs), healthy: this.#isHealthy(state) }] as const;
    });
    return JSON.stringify({
      lastUpdated: goTime(last),
      currentTime: goTime(now),
      ...(kind === "healthz" ? { nodeEligible: this.#nodeEligible } : {}),
      healthy,
      ...(status.length > 0 ? { status: Object.fromEntries(status) } : {}),
    });
  }

  #isHealthy({ waitingSince }: FamilyState): boolean {
    return waitingSince === null || performance.now() - waitingSince < 2_000 * this.#options.syncPeriodSec;
  }
}
