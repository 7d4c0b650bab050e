// SPDX-License-Identifier: Apache-2.0
// Which objects are current, and which Services has compile to look at again? The state part of a source's sink.
// Holds the objects it is given, copies none, and says nothing is dirty before both kinds have synced once.

import { sameEndpointSlice, sameService } from "./equal.ts";
import { listOf } from "./few.ts";
import { type EndpointSlice, objectKey, type Service, type ServiceKey, type SliceKey } from "./types.ts";

/** What compile reads. */
export interface StoreView {
  getService(key: ServiceKey): Service | undefined;
  /** The slices that name this Service, in no particular order; the array may be the store's own: read, do not keep. */
  slicesOf(key: ServiceKey): readonly EndpointSlice[];
  /** Every Service there is. */
  serviceKeys(): Iterable<ServiceKey>;
}

export class Store implements StoreView {
  readonly #services = new Map<ServiceKey, Service>();
  readonly #slices = new Map<SliceKey, EndpointSlice>();
  readonly #slicesByService = new Map<ServiceKey, EndpointSlice | EndpointSlice[]>();
  readonly #synced = new Set<"services" | "endpointslices">();
  #dirty = new Map<ServiceKey, bigint>();
  #endpoints = 0;

  /** Puts (null: removes) a Service. An object equal to the one held changes nothing: false. */
  service(key: ServiceKey, object: Service | null, receivedNs: bigint): boolean {
    const before = this.#services.get(key);
    if (object === null) {
      if (!this.#services.delete(key)) return false;
    } else {
      if (before !== undefined && sameService(before, object)) return false;
      this.#services.set(key, object);
    }
    this.#touch(key, receivedNs);
    return true;
  }

  /** Puts (null: removes) an EndpointSlice; one that moves to another Service dirties both. False: nothing changed. */
  endpointSlice(key: SliceKey, object: EndpointSlice | null, receivedNs: bigint): boolean {
    const before = this.#slices.get(key);
    if (before === undefined && object === null) return false;
    if (before !== undefined && object !== null && sameEndpointSlice(before, object)) return false;
    if (before !== undefined) this.#remove(key, before, receivedNs);
    if (object !== null) this.#add(key, object, receivedNs);
    return true;
  }

  /** All objects of this kind have been delivered once. */
  synced(kind: "services" | "endpointslices"): void {
    this.#synced.add(kind);
  }

  /** Both kinds have synced once. */
  get ready(): boolean {
    return this.#synced.size === 2;
  }

  /**
   * The Services whose objects changed since the last call, each with the receivedNs of the earliest change not yet
   * taken. Empty, and nothing forgotten, until ready.
   */
  takeDirty(): ReadonlyMap<ServiceKey, bigint> {
    if (!this.ready) return new Map();
    const taken = this.#dirty;
    this.#dirty = new Map();
    return taken;
  }

  getService(key: ServiceKey): Service | undefined {
    return this.#services.get(key);
  }

  getSlice(key: SliceKey): EndpointSlice | undefined {
    return this.#slices.get(key);
  }

  slicesOf(key: ServiceKey): readonly EndpointSlice[] {
    return listOf(this.#slicesByService.get(key));
  }

  serviceKeys(): Iterable<ServiceKey> {
    return this.#services.keys();
  }

  get serviceCount(): number {
    return this.#services.size;
  }

  get sliceCount(): number {
    return this.#slices.size;
  }

  /** Endpoints in all slices, a repeated one counted each time. */
  get endpointCount(): number {
    return this.#endpoints;
  }

  #add(key: SliceKey, slice: EndpointSlice, receivedNs: bigint): void {
    const service = serviceOf(slice);
    const siblings = this.#slicesByService.get(service);
    if (siblings === undefined) this.#slicesByService.set(service, slice);
    else if (Array.isArray(siblings)) siblings.push(slice);
    else this.#slicesByService.set(service, [siblings, slice]);
    this.#slices.set(key, slice);
    this.#endpoints += slice.count;
    this.#touch(service, receivedNs);
  }

  #remove(key: SliceKey, slice: EndpointSlice, receivedNs: bigint): void {
    const service = serviceOf(slice);
    const siblings = this.#slicesByService.get(service);
    if (Array.isArray(siblings) && siblings.length > 1) siblings.splice(siblings.indexOf(slice), 1);
    else this.#slicesByService.delete(service);
    this.#slices.delete(key);
    this.#endpoints -= slice.count;
    this.#touch(service, receivedNs);
  }

  #touch(key: ServiceKey, receivedNs: bigint): void {
    const since = this.#dirty.get(key);
    if (since === undefined || receivedNs < since) this.#dirty.set(key, receivedNs);
  }
}

function serviceOf(slice: EndpointSlice): ServiceKey {
  return objectKey(slice.namespace, slice.serviceName);
}
