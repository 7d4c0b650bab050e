// SPDX-License-Identifier: Apache-2.0
// When to sync: never before both kinds of objects have come once and the agent is ready for them; then at once, with
// whatever came in the same turn of the event loop. Much is compiled, and at first written, in slices, so that nothing
// else has to wait long.

import type { Compiler } from "../compile/compile.ts";
import { ENDPOINT_STRIDE, type Unit, type UnitDelta } from "../compile/unit.ts";
import type { Store } from "../model/store.ts";
import {
  type EndpointSlice,
  type Node,
  objectKey,
  type Problem,
  type Service,
  type ServiceKey,
  type SliceKey,
} from "../model/types.ts";
import type { Kind, SourceSink } from "../source/source.ts";
import type { Latency } from "./latency.ts";
import type { Problems } from "./notices/problems.ts";
import type { SyncWatch } from "./sync-watch.ts";

/** Services compiled in one turn. */
const SLICE = 256;
/**
 * Units and bytes of endpoints that the first sync writes in one turn: so few that what is only needed on the way is young
 * and dead when the young objects are collected.
 */
const WRITTEN = 128;
const WRITTEN_BYTES = 4096 * ENDPOINT_STRIDE;

export interface SyncLoopParts {
  readonly store: Store;
  readonly compiler: Compiler;
  readonly problems: Problems;
  readonly latency: Latency;
  /** Counts what comes, and how long it waits. */
  readonly watch: SyncWatch;
  /** What the source says of the node itself. */
  onNode(node: Node | null): void;
  onServiceCidrs(cidrs: readonly string[]): void;
  /** Asked once, when both kinds have come: resolves when they may be acted on. Its rejection is fatal. */
  admit(): Promise<void>;
  /** Writes a delta to the kernel; or a part of one, with more to come before anything else. */
  apply(delta: UnitDelta, more: boolean): void;
  /** There is something to do. */
  onActive(): void;
  /** All that was asked for is written, or refused; also after the first sync. */
  onDrained(): void;
  /** The first sync is in the kernel. Called once. */
  onSynced(): void;
  /** What an earlier agent left and no object explains may go now. Called once, after onSynced. */
  onComplete(): void;
  /** A broken invariant: nothing here can mend it. */
  onFatal(error: unknown): void;
}

export class SyncLoop implements SourceSink {
  readonly #parts: SyncLoopParts;
  /** Services to compile, with the time of the event that wants it; 0n: no event does. */
  #queue = new Map<ServiceKey, bigint>();
  /** Units of the first sync that are not written yet, and keys of those that went after they were. */
  readonly #first = new Map<string, Unit>();
  readonly #gone = new Set<string>();
  #scheduled: NodeJS.Immediate | null = null;
  #stopped = false;
  #synced = false;
  #admission: "not asked" | "asked" | "given" = "not asked";
  #complete: "no" | "wanted" | "done" = "no";

  constructor(parts: SyncLoopParts) {
    this.#parts = parts;
  }

  service(key: ServiceKey, object: Service | null, receivedNs: bigint): void {
    const { store, watch } = this.#parts;
    const before = store.getService(key);
    watch.service(key, { before, now: object, changed: store.service(key, object, receivedNs) });
    this.#wake();
  }

  endpointSlice(key: SliceKey, object: EndpointSlice | null, receivedNs: bigint): void {
    const { store, watch } = this.#parts;
    const before = store.getSlice(key);
    const slice = object ?? before;
    const changed = store.endpointSlice(key, object, receivedNs);
    if (slice !== undefined)
      watch.slice(objectKey(slice.namespace, slice.serviceName), { before, now: object, changed });
    this.#wake();
  }

  node(node: Node | null): void {
    this.#parts.onNode(node);
  }

  serviceCidrs(cidrs: readonly string[]): void {
    this.#parts.onServiceCidrs(cidrs);
  }

  synced(kind: Kind): void {
    const { store, admit, onFatal } = this.#parts;
    store.synced(kind);
    if (!store.ready || this.#admission !== "not asked") return;
    this.#admission = "asked";
    admit().then(() => {
      this.#admission = "given";
      this.#wake();
    }, onFatal);
  }

  complete(): void {
    this.#complete = "wanted";
    this.#wake();
  }

  problems(kind: Problem["kind"], key: string, problems: readonly Problem[]): void {
    this.#parts.problems.fromSource(kind, key, problems);
  }

  /** Compiles these Services again: something that they depend on besides their objects has changed. */
  recompile(services: Iterable<ServiceKey>): void {
    // Nothing has been compiled yet, and all of it will be, the oldest first.
    if (this.#admission !== "given") return;
    for (const key of services) if (!this.#queue.has(key)) this.#queue.set(key, 0n);
    this.#wake();
  }

  /** The first sync is in the kernel. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** In sync with all that has come so far. */
  get isDrained(): boolean {
    return this.#synced && this.#queue.size === 0 && this.#scheduled === null;
  }

  /** Nothing will be compiled or written any more. */
  stop(): void {
    this.#stopped = true;
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
  }

  #wake(): void {
    if (this.#scheduled !== null || this.#stopped || this.#admission !== "given") return;
    this.#parts.onActive();
    // Not now but after this turn's events: a burst is one sync.
    this.#scheduled = setImmediate(() => {
      this.#scheduled = null;
      try {
        this.#turn();
      } catch (error) {
        this.#parts.onFatal(error);
      }
    });
  }

  #turn(): void {
    this.#parts.watch.turn();
    this.#takeDirty();
    const slice = this.#takeSlice();
    if (slice.size > 0) this.#sync(slice);
    if (this.#queue.size > 0) {
      this.#wake();
      return;
    }
    if (!this.#synced && !this.#writeFirst()) {
      this.#wake();
      return;
    }
    this.#parts.onDrained();
    if (this.#complete === "wanted") {
      this.#complete = "done";
      this.#parts.onComplete();
    }
  }

  /** The next part of the first sync; whether it was the last. */
  #writeFirst(): boolean {
    const upserted: Unit[] = [];
    let bytes = 0;
    for (const unit of this.#first.values()) {
      upserted.push(unit);
      this.#first.delete(unit.key);
      bytes += unit.endpoints.length;
      if (upserted.length === WRITTEN || bytes >= WRITTEN_BYTES) break;
    }
    const more = this.#first.size > 0;
    this.#parts.apply({ upserted, removed: more ? [] : [...this.#gone], problems: new Map() }, more);
    if (more) return false;
    this.#gone.clear();
    this.#synced = true;
    this.#parts.onSynced();
    return true;
  }

  /** At first the oldest Services come first: those that claim a taken address then never held it for a moment. */
  #takeDirty(): void {
    const { store } = this.#parts;
    for (const [key, receivedNs] of this.#synced ? store.takeDirty() : oldestFirst(store)) {
      const since = this.#queue.get(key) ?? 0n;
      this.#queue.set(key, since === 0n || receivedNs < since ? receivedNs : since);
    }
  }

  #takeSlice(): ReadonlyMap<ServiceKey, bigint> {
    const slice = new Map<ServiceKey, bigint>();
    // Handed on and not emptied: see SyncWatch.
    if (this.#queue.size <= SLICE) {
      const all = this.#queue;
      this.#queue = slice;
      return all;
    }
    for (const [key, receivedNs] of this.#queue) {
      if (slice.size === SLICE) break;
      slice.set(key, receivedNs);
      this.#queue.delete(key);
    }
    return slice;
  }

  #sync(slice: ReadonlyMap<ServiceKey, bigint>): void {
    const { store, compiler, problems, latency } = this.#parts;
    const delta = compiler.update(store, slice.keys());
    for (const [service, found] of delta.problems) problems.fromCompile(service, found);
    if (!this.#synced) {
      for (const unit of delta.upserted) {
        this.#first.set(unit.key, unit);
        this.#gone.delete(unit.key);
      }
      for (const key of delta.removed) {
        this.#first.delete(key);
        this.#gone.add(key);
      }
      return;
    }
    this.#parts.apply(delta, false);
    const now = process.hrtime.bigint();
    for (const receivedNs of slice.values()) if (receivedNs !== 0n) latency.record(now - receivedNs);
  }
}

/** The Services to look at, and since when. Of tens of thousands each age is looked up once. */
function oldestFirst(store: Store): (readonly [ServiceKey, bigint])[] {
  const dirty = Array.from(store.takeDirty(), ([key, receivedNs]) => {
    return { key, receivedNs, createdMs: store.getService(key)?.createdMs ?? 0 };
  });
  dirty.sort((a, b) => a.createdMs - b.createdMs || (a.key < b.key ? -1 : 1));
  return dirty.map(({ key, receivedNs }) => [key, receivedNs]);
}
