// SPDX-License-Identifier: Apache-2.0
// The maps in plain memory: same port, same errors when full, and hooks between any two stores. What lies in it
// outlives the port that writes it, as pinned maps outlive an agent.

import { AddressBits } from "../../src/datapath/address-bits.ts";
import { parseExtentWord } from "../../src/datapath/extent.ts";
import type {
  BackendRow,
  Capacity,
  FrontendKey,
  FrontendRow,
  MapPort,
  NameRow,
  ServiceRow,
  SourceRange,
} from "../../src/datapath/port.ts";
import { formatAddress } from "../../src/model/address.ts";
import { extentSize } from "../../src/program/allocator.ts";
import { MemoryAudit } from "./memory-audit.ts";

export interface MemoryState {
  readonly capacity: Capacity;
  readonly names: Map<number, NameRow>;
  readonly frontends: Map<string, FrontendRow>;
  readonly services: Map<number, ServiceRow>;
  readonly backends: Map<number, BackendRow>;
  readonly active: Map<number, bigint>;
  readonly slots: Uint32Array;
  readonly nodeAddresses: Map<string, readonly [Uint8Array, number]>;
  /** pt_address_bits. */
  readonly bits: ArrayBuffer;
  readonly sourceRanges: Map<string, SourceRange>;
}

const NO_SERVICE: ServiceRow = { cluster: 0n, local: 0n, affinitySec: 0 };
const NO_BACKEND: BackendRow = {
  address: new Uint8Array(16),
  port: 0,
  protocol: 6,
  serviceId: 0,
  generation: 0,
  flags: 0,
};

export function emptyMemory(capacity: Partial<Capacity> = {}): MemoryState {
  const full = { services: 64, frontends: 256, backends: 512, slots: 1024, sourceRanges: 64, ...capacity };
  return {
    capacity: full,
    names: new Map(),
    frontends: new Map(),
    services: new Map(),
    backends: new Map(),
    active: new Map(),
    slots: new Uint32Array(full.slots),
    nodeAddresses: new Map(),
    bits: new ArrayBuffer(1 << 16),
    sourceRanges: new Map(),
  };
}

/** A frontend's key as text: "10.96.0.1|80|6". */
export function frontendText(key: FrontendKey): string {
  return `${formatAddress(key.address)}|${key.port}|${key.protocol}`;
}

/** A source range's key as text: "3|10.0.0.0/104". */
export function rangeText({ serviceId, address, bits }: SourceRange): string {
  return `${serviceId}|${formatAddress(address)}/${bits}`;
}

export class MapFailure extends Error {
  readonly code: string;

  constructor(operation: string, code: string) {
    super(`${operation}: ${code}`);
    this.code = code;
  }
}

/** The process is gone: whatever comes after the store it died at does not happen. */
export class Crash extends Error {}

/** What a test puts between the program and the memory. */
export interface Faults {
  /** Called before each store; may throw a Crash. */
  readonly beforeStore?: (operation: string) => void;
  /** Called after each store. */
  readonly afterStore?: (operation: string) => void;
  /** Whether this write to a hash map fails; arrays cannot. */
  readonly fails?: (operation: string) => boolean;
  /** Stands for a grace period; by default it has passed at the next turn of the loop. */
  readonly grace?: () => Promise<void>;
}

/** Fails about one write in ten, the same ones for the same seed. */
export function failing(seed: number): () => boolean {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 < 0.1;
  };
}

export class MemoryMaps implements MapPort {
  readonly capacity: Capacity;
  readonly audit: MemoryAudit;
  readonly #bits: AddressBits;
  readonly #state: MemoryState;
  readonly #faults: Faults;
  #writes = 0;

  constructor(state: MemoryState, faults: Faults = {}) {
    this.#state = state;
    this.#faults = faults;
    this.capacity = state.capacity;
    this.#bits = new AddressBits({ buffer: state.bits });
    for (const { address } of state.frontends.values()) this.#bits.cover(address);
    for (const [address] of state.nodeAddresses.values()) this.#bits.cover(address);
    const store = (operation: string, write: () => unknown): void => this.#store(operation, write);
    this.audit = new MemoryAudit({ port: this, state, bits: this.#bits, keyText: frontendText, store });
  }

  get writes(): number {
    return this.#writes;
  }

  setName(serviceId: number, name: NameRow): void {
    this.#mayFail("setName");
    const { names, capacity } = this.#state;
    if (!names.has(serviceId) && names.size >= capacity.services) throw new MapFailure("setName", "E2BIG");
    const { family, protocol, name: text } = name;
    this.#store("setName", () => names.set(serviceId, { family, protocol, name: text }));
  }

  setNames(rows: readonly (readonly [number, NameRow])[]): number {
    return this.#batch(rows, ([id, name]) => this.setName(id, name));
  }

  deleteName(serviceId: number): void {
    this.#mayFail("deleteName");
    if (this.#state.names.has(serviceId)) this.#store("deleteName", () => this.#state.names.delete(serviceId));
  }

  writeBackend(id: number, row: BackendRow): void {
    this.#checkBackend(id);
    const copy = { ...row, address: row.address.slice() };
    this.#store("writeBackend", () => this.#state.backends.set(id, { ...copy, flags: 0 }));
    this.#store("writeBackendFlags", () => this.#state.backends.set(id, copy));
    this.#writes--;
  }

  setBackendState(id: number, generation: number, flags: number): void {
    this.#checkBackend(id);
    this.#store("setBackendState", () => this.#state.backends.set(id, { ...this.backend(id), generation, flags }));
  }

  resetActive(id: number): void {
    this.#store("resetActive", () => this.#state.active.delete(id));
  }

  /** One write to its caller; each slot is a store of its own to a reader. */
  writeSlots(base: number, backendIds: Uint32Array): void {
    if (base + backendIds.length > this.capacity.slots) throw new RangeError(`slots ${base} + ${backendIds.length}`);
    backendIds.forEach((id, i) => {
      this.#store("writeSlots", () => this.#state.slots.fill(id, base + i, base + i + 1));
    });
    this.#writes -= Math.max(0, backendIds.length - 1);
  }

  setAffinity(serviceId: number, affinitySec: number): void {
    this.#setService(serviceId, { affinitySec });
  }

  setCluster(serviceId: number, cluster: bigint): void {
    this.#setService(serviceId, { cluster });
  }

  setLocal(serviceId: number, local: bigint): void {
    this.#setService(serviceId, { local });
  }

  putFrontend(row: FrontendRow): void {
    this.#mayFail("putFrontend");
    const { frontends, capacity } = this.#state;
    const key = frontendText(row);
    if (!frontends.has(key) && frontends.size >= capacity.frontends) throw new MapFailure("putFrontend", "E2BIG");
    this.#bits.cover(row.address);
    this.#store("putFrontend", () => frontends.set(key, row));
  }

  putFrontends(rows: readonly FrontendRow[]): number {
    return this.#batch(rows, (row) => this.putFrontend(row));
  }

  deleteFrontend(key: FrontendKey): void {
    this.#mayFail("deleteFrontend");
    const text = frontendText(key);
    if (this.#state.frontends.has(text)) this.#store("deleteFrontend", () => this.#state.frontends.delete(text));
  }

  putSourceRange(range: SourceRange): void {
    this.#mayFail("putSourceRange");
    const { sourceRanges, capacity } = this.#state;
    const key = rangeText(range);
    if (!sourceRanges.has(key) && sourceRanges.size >= capacity.sourceRanges) {
      throw new MapFailure("putSourceRange", "ENOSPC");
    }
    this.#store("putSourceRange", () => sourceRanges.set(key, range));
  }

  deleteSourceRange(range: SourceRange): void {
    this.#mayFail("deleteSourceRange");
    const { sourceRanges } = this.#state;
    const key = rangeText(range);
    if (sourceRanges.has(key)) this.#store("deleteSourceRange", () => sourceRanges.delete(key));
  }

  putNodeAddress(address: Uint8Array, flags: number): void {
    this.#mayFail("putNodeAddress");
    const entry = [address.slice(), flags] as const;
    this.#bits.cover(address);
    this.#store("putNodeAddress", () => this.#state.nodeAddresses.set(formatAddress(address), entry));
  }

  deleteNodeAddress(address: Uint8Array): void {
    this.#mayFail("deleteNodeAddress");
    this.#store("deleteNodeAddress", () => this.#state.nodeAddresses.delete(formatAddress(address)));
  }

  grace(): Promise<void> {
    return this.#faults.grace?.() ?? new Promise((resolve) => setImmediate(resolve));
  }

  names(): Iterable<readonly [number, NameRow]> {
    return this.#state.names;
  }

  frontends(): Iterable<FrontendRow> {
    return this.#state.frontends.values();
  }

  service(id: number): ServiceRow {
    return this.#state.services.get(id) ?? NO_SERVICE;
  }

  backend(id: number): BackendRow {
    return this.#state.backends.get(id) ?? NO_BACKEND;
  }

  backendService(id: number): number {
    return this.backend(id).serviceId;
  }

  backendGeneration(id: number): number {
    return this.backend(id).generation;
  }

  backendFlags(id: number): number {
    return this.backend(id).flags;
  }

  copyEndpoint(id: number, into: Uint8Array, offset: number): void {
    const { address, port, flags } = this.backend(id);
    into.set(address, offset);
    into.set([port >> 8, port & 0xff, flags, 0], offset + 16);
  }

  usedBackends(): Iterable<number> {
    return [...this.#state.backends.keys()].sort((a, b) => a - b);
  }

  slots(base: number, count: number): Uint32Array {
    return this.#state.slots.slice(base, base + count);
  }

  active(id: number): bigint {
    return this.#state.active.get(id) ?? 0n;
  }

  sourceRanges(): Iterable<SourceRange> {
    return this.#state.sourceRanges.values();
  }

  nodeAddresses(): Iterable<readonly [Uint8Array, number]> {
    return this.#state.nodeAddresses.values();
  }

  #setService(id: number, change: Partial<ServiceRow>): void {
    if (id < 0 || id >= this.capacity.services) throw new RangeError(`service id ${id}`);
    const operation = `set ${Object.keys(change).join()}`;
    this.#store(operation, () => this.#state.services.set(id, { ...this.service(id), ...change }));
  }

  #checkBackend(id: number): void {
    if (id < 1 || id >= this.capacity.backends) throw new RangeError(`backend id ${id}`);
  }

  #mayFail(operation: string): void {
    if (this.#faults.fails?.(operation) === true) throw new MapFailure(operation, "EBUSY");
  }

  #store(operation: string, write: () => unknown): void {
    this.#faults.beforeStore?.(operation);
    write();
    this.#writes++;
    this.#faults.afterStore?.(operation);
  }

  #batch<T>(rows: readonly T[], write: (row: T) => void): number {
    let written = 0;
    try {
      for (const row of rows) {
        write(row);
        written++;
      }
    } catch (error) {
      if (!(error instanceof MapFailure) || (written === 0 && error.code !== "E2BIG")) throw error;
    }
    return written;
  }
}

/** The runs of slots that words lead to: base and size, slack included. */
export function usedRuns(state: MemoryState): { readonly base: number; readonly end: number; readonly of: string }[] {
  const runs = [];
  for (const [id, row] of state.services) {
    for (const set of ["cluster", "local"] as const) {
      const { base, count } = parseExtentWord(row[set]);
      if (count > 0) runs.push({ base, end: base + extentSize(count), of: `${id}.${set}` });
    }
  }
  return runs.sort((a, b) => a.base - b.base);
}
