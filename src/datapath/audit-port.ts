// SPDX-License-Identifier: Apache-2.0
// What an audit asks of the maps besides MapPort: whether they are still as they were, and every row as it lies there,
// also such as portolan would never write. Whatever takes long is done a batch at a time, and a batch is read at the moment
// it is asked for: what is compared with it before the event loop turns again is compared with the present.

import type { ExtentWord } from "./extent.ts";
import type { BackendRow, FrontendKey, FrontendRow, MapPort, NameRow } from "./port.ts";

export interface StoredFrontend extends FrontendRow {
  /** The key, where it has bytes set that no key of portolan's has: such a row can only be deleted by them. */
  readonly stray: Uint8Array | null;
}

/** Ids and slots from these on were never used. */
export interface UsedIds {
  readonly services: number;
  readonly backends: number;
  readonly slots: number;
}

export interface AuditPort {
  /** Of all that the agent writes, as it is now. Equal contents give equal digests, others hardly ever do. */
  digest(used: UsedIds): Generator<void, string>;
  /** Rows that were read at once, to be taken before the next are. */
  frontendBatches(): Iterable<Iterable<StoredFrontend>>;
  hasFrontend(key: FrontendKey): boolean;
  deleteStray(key: Uint8Array): void;
  nameBatches(): Iterable<Iterable<readonly [serviceId: number, name: NameRow]>>;
  hasName(serviceId: number): boolean;
  hasExtent(serviceId: number, set: "cluster" | "local", extent: ExtentWord): boolean;
  affinitySec(serviceId: number): number;
  /** Whether the row is this one; `endpoint` is an offset into Unit.endpoints, flags are the row's. */
  hasBackend(id: number, row: BackendIdentity): boolean;
  /** Over a row that may be in use, since somebody has damaged it: no part of an address is seen half written. */
  restoreBackend(id: number, row: BackendRow): void;
  /** Sets the bits of pt_address_bits that were set and are not. Returns how many words were damaged. */
  mendAddressBits(): number;
}

export interface BackendIdentity {
  readonly endpoints: Uint8Array;
  readonly endpoint: number;
  readonly protocol: number;
  readonly serviceId: number;
  readonly generation: number;
  readonly flags: number;
}

export interface AuditedMaps extends MapPort {
  readonly audit: AuditPort;
}
