// SPDX-License-Identifier: Apache-2.0
// The maps in plain memory as an audit sees them.

import type { AddressBits } from "../../src/datapath/address-bits.ts";
import type { AuditPort, BackendIdentity, StoredFrontend } from "../../src/datapath/audit-port.ts";
import { type ExtentWord, extentWord } from "../../src/datapath/extent.ts";
import type { BackendRow, FrontendKey, MapPort, NameRow } from "../../src/datapath/port.ts";
import type { MemoryState } from "./memory-maps.ts";

/** Small, so that other things happen between two. */
const BATCH = 2;

export interface MemoryAuditParts {
  readonly port: MapPort;
  readonly state: MemoryState;
  readonly bits: AddressBits;
  /** A frontend's key in `state`. */
  readonly keyText: (key: FrontendKey) => string;
  readonly store: (operation: string, write: () => unknown) => void;
}

function* batches<T>(items: Iterable<T>): Generator<T[]> {
  let batch: T[] = [];
  for (const item of items) {
    if (batch.push(item) < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

export class MemoryAudit implements AuditPort {
  readonly #parts: MemoryAuditParts;

  constructor(parts: MemoryAuditParts) {
    this.#parts = parts;
  }

  *digest(): Generator<void, string> {
    const { state } = this.#parts;
    yield;
    const text = (key: string, value: unknown): unknown => {
      if (typeof value === "bigint") return String(value);
      if (value instanceof Uint8Array || value instanceof Uint32Array) return [...value].join();
      return value instanceof Map ? [...value].sort(([a], [b]) => (a < b ? -1 : 1)) : key === "active" ? 0 : value;
    };
    const { active, bits, ...rest } = state;
    return JSON.stringify(rest, text);
  }

  *frontendBatches(): Generator<readonly StoredFrontend[]> {
    for (const batch of batches(this.#parts.state.frontends)) {
      yield batch.map(([text, row]) => ({
        ...row,
        stray: text === this.#parts.keyText(row) ? null : new TextEncoder().encode(text),
      }));
    }
  }

  hasFrontend(key: FrontendKey): boolean {
    return this.#parts.state.frontends.has(this.#parts.keyText(key));
  }

  deleteStray(key: Uint8Array): void {
    const text = new TextDecoder().decode(key);
    this.#parts.store("deleteStray", () => this.#parts.state.frontends.delete(text));
  }

  nameBatches(): Iterable<readonly (readonly [number, NameRow])[]> {
    return batches(this.#parts.state.names);
  }

  hasName(serviceId: number): boolean {
    return this.#parts.state.names.has(serviceId);
  }

  hasExtent(serviceId: number, set: "cluster" | "local", { base, count, algorithm }: ExtentWord): boolean {
    return this.#parts.port.service(serviceId)[set] === extentWord(base, count, algorithm);
  }

  affinitySec(serviceId: number): number {
    return this.#parts.port.service(serviceId).affinitySec;
  }

  hasBackend(id: number, { endpoints, endpoint, ...row }: BackendIdentity): boolean {
    const { address, port, ...is } = this.#parts.port.backend(id);
    const number = ((endpoints[endpoint + 16] ?? 0) << 8) | (endpoints[endpoint + 17] ?? 0);
    return (
      Buffer.compare(address, endpoints.subarray(endpoint, endpoint + 16)) === 0 &&
      port === number &&
      is.protocol === row.protocol &&
      is.serviceId === row.serviceId &&
      is.generation === row.generation &&
      is.flags === row.flags
    );
  }

  restoreBackend(id: number, row: BackendRow): void {
    this.#parts.store("restoreBackend", () => this.#parts.state.backends.set(id, row));
  }

  mendAddressBits(): number {
    return this.#parts.bits.mend();
  }
}
