// SPDX-License-Identifier: Apache-2.0
// What the sync loop does, as health and metrics count it: events that ask for a sync, syncs that end, and for how long
// a family has been waiting.

import type { KubeProxyMetrics } from "../health/kube-proxy-metrics.ts";
import type { ProxyHealth } from "../health/proxy-health.ts";
import { familyOfText } from "../model/address.ts";
import { type EndpointSlice, type Family, objectKey, type Service, type ServiceKey } from "../model/types.ts";
import type { ApplyReport } from "../program/status.ts";

/** An object as it was and as it is now; undefined, null: there is none. */
export interface ObjectEvent<T> {
  readonly before: T | undefined;
  readonly now: T | null;
  /** It is not what it was. */
  readonly changed: boolean;
}

export interface SyncWatchOptions {
  readonly families: readonly Family[];
  readonly health: ProxyHealth;
  readonly metrics: KubeProxyMetrics;
  /** Unix milliseconds: what caused a change before is not measured. */
  readonly startedMs: number;
}

export class SyncWatch {
  readonly #options: SyncWatchOptions;
  // What fills and empties with every event is replaced, never emptied: a table that V8 has outgrown holds on to the one
  // that came after it, and what such a chain leads to is kept until a whole collection.
  /** Asked for and not written yet, or tried in vain. */
  #waiting: readonly Family[] = [];
  readonly #failing = new Set<Family>();
  readonly #services = new Set<ServiceKey>();
  #touched = new Set<ServiceKey>();
  /** What caused the changes that wait, in Unix milliseconds, by family and Service. */
  readonly #triggers = new Map<Family, Map<ServiceKey, number[]>>();
  #slices = 0;
  #lastEventMs = 0;
  #beganMs: number | null = null;
  #full = true;
  #running = false;

  constructor(options: SyncWatchOptions) {
    this.#options = options;
    for (const family of options.families) this.#triggers.set(family, new Map());
  }

  /** The loop runs, whether or not there is anything to do yet. */
  started(): void {
    const { families, health, metrics } = this.#options;
    health.started();
    for (const family of families) {
      metrics.queued(family);
      this.#await(family);
    }
  }

  /** Unix seconds of the last Service or slice event; 0 before. */
  get lastEventSec(): number {
    return this.#lastEventMs / 1_000;
  }

  service(key: ServiceKey, { before, now, changed }: ObjectEvent<Service>): void {
    this.#lastEventMs = Date.now();
    this.#options.metrics.serviceEvent(this.#options.families.length);
    if (!changed) return;
    this.#touched.add(key);
    const addresses = [...(before?.clusterIps ?? []), ...(now?.clusterIps ?? [])];
    const families = new Set(addresses.map(familyOfText).filter((family) => this.#options.families.includes(family)));
    // No sync comes for a Service of a family that the node has not.
    if (families.size > 0) this.#services.add(key);
    for (const family of families) this.#queue(family);
    this.#tellPending();
  }

  slice(service: ServiceKey, { before, now, changed }: ObjectEvent<EndpointSlice>): void {
    this.#lastEventMs = Date.now();
    const family = (now ?? before)?.family;
    const triggers = family === undefined ? undefined : this.#triggers.get(family);
    if (family === undefined || triggers === undefined) return;
    this.#options.metrics.sliceEvent();
    if (!changed) return;
    this.#slices++;
    this.#touched.add(service);
    if (before !== undefined) this.#touched.add(objectKey(before.namespace, before.serviceName));
    // A slice that goes says when it changed last, not why it goes: nothing of its Service is measured then.
    if (now === null) triggers.delete(service);
    else if (now.triggerMs > this.#options.startedMs) {
      const known = triggers.get(service);
      if (known === undefined) triggers.set(service, [now.triggerMs]);
      else known.push(now.triggerMs);
    }
    this.#queue(family);
    this.#tellPending();
  }

  /** Something else than an object makes it necessary to look at Services again; `full`: at all of them. */
  recompile(full: boolean): void {
    if (full) this.#full = true;
    for (const family of this.#options.families) this.#queue(family);
  }

  /** A turn of the loop begins. Before the first, events wait for the source to have told all: that makes nobody ill. */
  turn(): void {
    this.#running = true;
    this.#beganMs ??= performance.now();
  }

  /** What became of a round of writes. */
  applied({ refused }: Pick<ApplyReport, "refused">): void {
    if (this.#failing.size > 0) this.#failing.clear();
    for (const { key, capacity } of refused) if (!capacity) this.#failing.add(key.endsWith("/6") ? 6 : 4);
  }

  /** The last round of writes that is known of left some undone. */
  get isFailing(): boolean {
    return this.#failing.size > 0;
  }

  /**
   * All that was asked for was written, or tried. Answers the Services whose objects have changed since the last time;
   * null if there was nothing to do.
   */
  drained(): ReadonlySet<ServiceKey> | null {
    const seconds = (performance.now() - (this.#beganMs ?? performance.now())) / 1_000;
    this.#beganMs = null;
    if (this.#waiting.length === 0) return null;
    for (const family of this.#waiting) {
      this.#options.metrics.ran(family, seconds, this.#full);
      if (!this.#failing.has(family)) this.#synced(family);
    }
    this.#full = this.#failing.size > 0;
    if (this.#services.size > 0) this.#services.clear();
    this.#slices = 0;
    this.#tellPending();
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  #synced(family: Family): void {
    const { health, metrics } = this.#options;
    this.#waiting = this.#waiting.filter((other) => other !== family);
    health.synced(family);
    metrics.synced(family);
    const now = Date.now();
    const triggers = this.#triggers.get(family);
    if (triggers === undefined || triggers.size === 0) return;
    for (const times of triggers.values()) for (const time of times) metrics.programmed(family, (now - time) / 1_000);
    this.#triggers.set(family, new Map());
  }

  #await(family: Family): void {
    if (!this.#waiting.includes(family)) this.#waiting = [...this.#waiting, family];
  }

  #queue(family: Family): void {
    this.#await(family);
    if (!this.#running) return;
    this.#options.health.queued(family);
    this.#options.metrics.queued(family);
  }

  #tellPending(): void {
    this.#options.metrics.pending(this.#services.size, this.#slices);
  }
}
