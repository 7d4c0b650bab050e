// SPDX-License-Identifier: Apache-2.0
// The face of the maps that program/ writes through. maps.ts implements it on the pinned maps; tests may wrap it
// to make single writes fail or to stop after one. Every call is one store, one syscall or one batch; none has an order of its own.

import type { Family, Protocol } from "../model/types.ts";

export interface Capacity {
  /** Usable ids are 1 … n-1: id 0 is never given out. */
  readonly services: number;
  readonly frontends: number;
  readonly backends: number;
  readonly slots: number;
  readonly sourceRanges: number;
}

export interface FrontendKey {
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** 0 in an any-port row. */
  readonly port: number;
  /** 0 in an any-port row. */
  readonly protocol: Protocol | 0;
}

export interface FrontendRow extends FrontendKey {
  readonly serviceId: number;
  /** enum frontend_flags (layout.ts FRONTEND). */
  readonly flags: number;
}

export interface BackendRow {
  readonly address: Uint8Array;
  readonly port: number;
  readonly protocol: Protocol;
  readonly serviceId: number;
  readonly generation: number;
  readonly flags: number;
}

export interface ServiceRow {
  /** Extent words: base:32 | count:24 | algorithm:8 (layout.ts extentWord). */
  readonly cluster: bigint;
  readonly local: bigint;
  readonly affinitySec: number;
}

export interface NameRow {
  readonly family: Family;
  readonly protocol: Protocol;
  readonly name: string;
}

/** Sources in this prefix may use the service's load balancer addresses. */
export interface SourceRange {
  readonly serviceId: number;
  /** 16 bytes; those behind the prefix are zero. */
  readonly address: Uint8Array;
  /** Of the 16 bytes: an IPv4 /8 is 104. Less than 0 where somebody's hand left out part of the service id. */
  readonly bits: number;
}

/** Failures are BpfError (ENOSPC and E2BIG: the map is full). Stores into mapped arrays do not fail. */
export interface MapPort {
  readonly capacity: Capacity;
  /** Single writes since the port was opened, a batch counting its rows. */
  readonly writes: number;

  setName(serviceId: number, name: NameRow): void;
  /** Batch of setName; as putFrontends: returns how many of the first were written. */
  setNames(rows: readonly (readonly [serviceId: number, name: NameRow])[]): number;
  deleteName(serviceId: number): void;
  /** Writes all but flags, then flags. Only while the id is unreachable. */
  writeBackend(id: number, row: BackendRow): void;
  /** Generation and flags at once. */
  setBackendState(id: number, generation: number, flags: number): void;
  resetActive(id: number): void;
  /** One store for each slot. */
  writeSlots(base: number, backendIds: Uint32Array): void;
  setAffinity(serviceId: number, affinitySec: number): void;
  /** One atomic store each: this publishes an extent. */
  setCluster(serviceId: number, word: bigint): void;
  setLocal(serviceId: number, word: bigint): void;
  putFrontend(row: FrontendRow): void;
  /**
   * Batch insert; returns how many of the first rows were written. Fewer: the map is full, or the next row failed.
   * Throws only where the very first row failed for another reason than a full map.
   */
  putFrontends(rows: readonly FrontendRow[]): number;
  /** A missing row is success. */
  deleteFrontend(key: FrontendKey): void;
  putSourceRange(range: SourceRange): void;
  /** A missing one is success. */
  deleteSourceRange(range: SourceRange): void;
  putNodeAddress(address: Uint8Array, flags: number): void;
  deleteNodeAddress(address: Uint8Array): void;
  /** One RCU grace period, off the main thread. */
  grace(): Promise<void>;

  // Recovery and inspection
  names(): Iterable<readonly [serviceId: number, name: NameRow]>;
  frontends(): Iterable<FrontendRow>;
  service(id: number): ServiceRow;
  backend(id: number): BackendRow;
  /** Single members of a backend's row, without an object for each. */
  backendService(id: number): number;
  backendGeneration(id: number): number;
  backendFlags(id: number): number;
  /** Writes ENDPOINT_STRIDE bytes (compile/unit.ts) of backend `id` to into[offset]: address, port big endian, flags, zero. */
  copyEndpoint(id: number, into: Uint8Array, offset: number): void;
  /** Ids of backends whose row is not all zero, ascending. */
  usedBackends(): Iterable<number>;
  slots(base: number, count: number): Uint32Array;
  active(id: number): bigint;
  sourceRanges(): Iterable<SourceRange>;
  nodeAddresses(): Iterable<readonly [address: Uint8Array, flags: number]>;
}
