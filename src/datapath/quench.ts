// SPDX-License-Identifier: Apache-2.0
// Fails what connected UDP sockets send to endpoints that are gone (quench.bpf.c), for sockets that cannot be ended. The
// program is on the cgroup only while there are such endpoints, by a link that is not pinned: it goes with the process.

import { BpfError, type BpfLink, type BpfMap, BpfObject } from "libbpf-ts";
import { type Layout, structLayout } from "./layout.ts";

const OWN_MAP = "pt_gone";

/** An endpoint of a service. The address has 16 bytes. */
export interface GoneEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
  readonly serviceId: number;
}

export interface QuenchOptions {
  readonly objectFile: string;
  readonly cgroup: string;
  /** The maps of the socket programs, by name. */
  readonly maps: (name: string) => BpfMap;
  readonly constants: Readonly<Record<string, number | bigint | boolean>>;
}

export class Quench implements Disposable {
  readonly #object: BpfObject;
  readonly #gone: BpfMap;
  readonly #cgroup: string;
  readonly #key: Layout<"gone_key">;
  readonly #valueBytes: number;
  #link: BpfLink | null = null;
  #failedSends = 0n;
  #closed = false;

  /** Loads the program against the maps in use. Throws BpfError. */
  constructor({ objectFile, cgroup, maps, constants }: QuenchOptions) {
    this.#cgroup = cgroup;
    this.#object = BpfObject.open(objectFile);
    try {
      for (const [name, value] of Object.entries(constants)) this.#object.setRodata(name, value);
      for (const { name } of this.#object.maps) {
        if (!isShared(name)) continue;
        using map = maps(name);
        this.#object.reuseMap(name, map);
      }
      this.#object.load();
      using btf = this.#object.btf();
      this.#key = structLayout(btf, "gone_key");
      this.#valueBytes = structLayout(btf, "stat").size;
    } catch (error) {
      this.#object.close();
      throw error;
    }
    this.#gone = this.#object.map(OWN_MAP);
  }

  /** How many endpoints it has room for. */
  get room(): number {
    return this.#gone.info.maxEntries;
  }

  get attached(): boolean {
    return this.#link !== null;
  }

  /** Datagrams failed so far. */
  get failedSends(): bigint {
    return this.#closed ? this.#failedSends : this.#failedSends + this.#count();
  }

  /** From now on what is sent to these fails. Throws BpfError: the map is full, or the program cannot be attached. */
  add(endpoints: readonly GoneEndpoint[]): void {
    for (const endpoint of endpoints) {
      const key = this.#keyOf(endpoint);
      if (this.#gone.get(key) === null) this.#gone.set(key, new Uint8Array(this.#valueBytes));
    }
    if (endpoints.length > 0) this.#attach();
  }

  remove(endpoint: GoneEndpoint): void {
    const key = this.#keyOf(endpoint);
    this.#failedSends += countOf(this.#gone.get(key));
    this.#gone.delete(key);
  }

  /** Takes the program off the cgroup: what remains is forgotten. */
  detach(): void {
    this.#failedSends += this.#count();
    for (const [key] of [...this.#gone.entries()]) this.#gone.delete(key);
    this.#link?.close();
    this.#link = null;
  }

  /** May be called more than once. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.detach();
    this.#closed = true;
    this.#gone.close();
    this.#object.close();
  }

  #attach(): void {
    if (this.#link !== null) return;
    using program = this.#object.program("pt_quench");
    this.#link = program.attachCgroup(this.#cgroup, "cgroup_inet_egress");
  }

  #count(): bigint {
    let sum = 0n;
    for (const [, value] of this.#gone.entries()) sum += countOf(value);
    return sum;
  }

  #keyOf({ address, port, serviceId }: GoneEndpoint): Uint8Array {
    const { size, at } = this.#key;
    const key = new Uint8Array(size);
    key.set(address, at.addr);
    const data = new DataView(key.buffer);
    data.setUint16(at.port, port, true);
    data.setUint32(at.service_id, serviceId, true);
    return key;
  }
}

/** A map of the socket programs, and not the program's own or one of libbpf's. */
const isShared = (name: string): boolean => name.startsWith("pt_") && name !== OWN_MAP;

/** Why the program cannot be used; null: the kernel takes it. Nothing stays behind. */
export function quenchProblem(objectFile: string): string | null {
  try {
    using object = BpfObject.open(objectFile);
    object.setRodata("sockets_mask", 15);
    for (const { name, type } of object.maps) {
      if (isShared(name) && type !== "sk_storage") object.setMaxEntries(name, 1_024);
    }
    object.load();
    return null;
  } catch (error) {
    if (error instanceof BpfError) return error.message;
    throw error;
  }
}

const countOf = (value: Uint8Array | null): bigint =>
  value === null ? 0n : new DataView(value.buffer, value.byteOffset).getBigUint64(0, true);
