// SPDX-License-Identifier: Apache-2.0
// A cluster whose Services and slices change at random, and a book of it that knows what nobody may ever be told. Each
// write has a number of its own, which is the port that it writes: whoever shows a port shows which write it has seen.

import type { ApiObject } from "./api-server.ts";
import { ClusterHistory, STORED, type Stored } from "./cluster-history.ts";
import type { Random } from "./damage.ts";

const NAMESPACE = "shop";
const MAX_SLICES = 2;
const MAX_WRITES = 65_000;
/** default/kubernetes, by which one cluster is told from another. */
const API = { key: "default/kubernetes", uid: "kubernetes", address: "10.96.255.1", port: 65_443 };

export class ChaosWorld {
  readonly history = new ClusterHistory();
  readonly #pick: Random;
  readonly #services: number;
  #writes = 0;

  constructor(pick: Random, services: number) {
    this.#pick = pick;
    this.#services = services;
    this.history.put("services", serviceObject(API.key, API));
    for (let n = 0; n < services; n++) this.#create(n);
  }

  get writes(): number {
    return this.#writes;
  }

  /** One thing happens, now and then very much at once. */
  step(): void {
    const n = this.#pick(this.#services);
    const what = this.#pick(100);
    if (what < 50) this.#putSlice(n, this.#pick(MAX_SLICES));
    else if (what < 62) this.#putService(n);
    else if (what < 70) this.#remove(n);
    else if (what < 78) this.#create(n);
    else if (what < 83) {
      this.#remove(n);
      this.#create(n);
    } else if (what < 90) this.#move(n);
    else if (what < 94) this.history.remove("endpointslices", sliceKey(n, this.#pick(MAX_SLICES)));
    else if (what < 96) this.history.remove("services", serviceKey(n));
    else if (what < 99) this.history.jump(this.#pick(500));
    else for (let i = this.#pick(60); i > 0; i--) this.#putSlice(this.#pick(this.#services), 0);
  }

  #create(n: number): void {
    this.#putService(n);
    for (let slice = this.#pick(MAX_SLICES + 1) - 1; slice >= 0; slice--) this.#putSlice(n, slice);
  }

  #remove(n: number): void {
    for (let slice = 0; slice < MAX_SLICES; slice++) this.history.remove("endpointslices", sliceKey(n, slice));
    this.history.remove("services", serviceKey(n));
  }

  #putService(n: number): void {
    const key = serviceKey(n);
    const port = this.#write();
    const uid = this.history.get("services", key)?.metadata["uid"] ?? `uid-${port}`;
    this.history.put("services", serviceObject(key, { uid, address: addressOf(n), port }));
  }

  #putSlice(n: number, slice: number): void {
    const addresses = Array.from({ length: this.#pick(4) }, () => `10.128.${this.#pick(4)}.${1 + this.#pick(250)}`);
    this.history.put("endpointslices", sliceObject(sliceKey(n, slice), serviceName(n), addresses, this.#write()));
  }

  /** A slice passes to another Service. */
  #move(n: number): void {
    const object = this.history.get("endpointslices", sliceKey(n, 0));
    if (object === undefined) return;
    const { metadata } = object;
    const labels = { "kubernetes.io/service-name": serviceName(this.#pick(this.#services)) };
    const ports = [{ name: "", protocol: "TCP", port: this.#write() }];
    this.history.put("endpointslices", { ...object, metadata: { ...metadata, labels }, ports });
  }

  #write(): number {
    if (++this.#writes > MAX_WRITES) throw new Error("there are no ports left to number the writes with");
    return this.#writes;
  }
}

const serviceName = (n: number): string => `s${n}`;
const serviceKey = (n: number): string => `${NAMESPACE}/${serviceName(n)}`;
const sliceKey = (n: number, slice: number): string => `${serviceKey(n)}-${slice}`;
const addressOf = (n: number): string => `10.96.${n >> 8}.${n & 255}`;

function metadataOf(key: string): { readonly namespace: string; readonly name: string } {
  const [namespace = "", name = ""] = key.split("/");
  return { namespace, name };
}

function serviceObject(
  key: string,
  { uid, address, port }: { uid: unknown; address: string; port: number },
): ApiObject {
  const spec = { clusterIP: address, clusterIPs: [address], ports: [{ name: "", protocol: "TCP", port }] };
  return { metadata: { ...metadataOf(key), uid }, spec };
}

function sliceObject(key: string, service: string, addresses: readonly string[], port: number): ApiObject {
  return {
    metadata: { ...metadataOf(key), labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    ports: [{ name: "", protocol: "TCP", port }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node1", conditions: { ready: true } })),
  };
}

/** The Service that a slice is of. */
export function serviceOf({ metadata }: ApiObject): string {
  const labels = metadata["labels"] as Readonly<Record<string, string>>;
  return `${metadata.namespace}/${labels["kubernetes.io/service-name"]}`;
}

/** The number of the write that made the object so. */
export function writeOf(resource: Stored, object: ApiObject): number {
  const holder = (resource === "services" ? object["spec"] : object) as { ports: readonly { port: number }[] };
  return holder.ports[0]?.port ?? 0;
}

/** Follows the truth, and holds what somebody is told of it against it. */
export class Book {
  readonly wrong: string[] = [];
  readonly #history: ClusterHistory;
  /** When each write was made, and when each object was last absent; by a clock that ticks with every change. */
  readonly #made: number[] = [];
  readonly #absent = new Map<string, number>();
  readonly #present = new Set<string>();
  readonly #told = new Map<string, number>();
  #now = 0;
  #restored = 0;

  constructor(history: ClusterHistory) {
    this.#history = history;
    history.follow(() => this.#look());
    this.#look();
  }

  get now(): number {
    return this.#now;
  }

  /** When a backup was last put back. */
  get restoredAt(): number {
    return this.#restored;
  }

  /** When the object was last absent. */
  absent(resource: Stored, key: string): number {
    const id = `${resource} ${key}`;
    return this.#present.has(id) ? (this.#absent.get(id) ?? 0) : this.#now;
  }

  toldOf(resource: Stored): string[] {
    const prefix = `${resource} `;
    return [...this.#told.keys()].filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length));
  }

  /** What was told so far binds nobody. */
  forget(resource: Stored): void {
    for (const key of this.toldOf(resource)) this.#told.delete(`${resource} ${key}`);
  }

  /** From now on what is told may be of an older state. */
  restore(): void {
    this.#restored = ++this.#now;
  }

  told(resource: Stored, key: string, write: number | null): void {
    const id = `${resource} ${key}`;
    const before = this.#told.get(id);
    if (write === null) {
      this.#told.delete(id);
      if (before !== undefined && this.absent(resource, key) <= (this.#made[before] ?? 0))
        this.wrong.push(`${id} withdrawn, and it was there ever since its write ${before}`);
      return;
    }
    if (before !== undefined && write < before && this.#restored <= (this.#made[before] ?? 0))
      this.wrong.push(`${id} went back from write ${before} to ${write}`);
    this.#told.set(id, write);
  }

  /** What differs between what was told and the truth. */
  differing(): string[] {
    const found: string[] = [];
    const wanted = new Map<string, number>();
    for (const resource of STORED)
      for (const key of this.#history.keys(resource)) {
        const object = this.#history.get(resource, key);
        if (object !== undefined) wanted.set(`${resource} ${key}`, writeOf(resource, object));
      }
    for (const [id, write] of wanted) {
      const told = this.#told.get(id);
      if (told !== write) found.push(`${id}: told ${told}, is ${write}`);
    }
    for (const [id, write] of this.#told) if (!wanted.has(id)) found.push(`${id}: told ${write}, is gone`);
    return found;
  }

  #look(): void {
    this.#now++;
    const now = new Set<string>();
    for (const resource of STORED)
      for (const key of this.#history.keys(resource)) {
        const id = `${resource} ${key}`;
        now.add(id);
        const object = this.#history.get(resource, key);
        const write = object === undefined ? 0 : writeOf(resource, object);
        this.#made[write] ??= this.#now;
        if (!this.#present.has(id)) this.#absent.set(id, this.#now - 1);
      }
    for (const id of this.#present) if (!now.has(id)) this.#absent.set(id, this.#now);
    this.#present.clear();
    for (const id of now) this.#present.add(id);
  }
}
