// SPDX-License-Identifier: Apache-2.0
// The pinned maps as an audit sees them: hashes in batches, mapped arrays as typed arrays.

import type { BpfMap, MmapView } from "libbpf-ts";
import type { AddressBits } from "./address-bits.ts";
import type { AuditPort, BackendIdentity, StoredFrontend, UsedIds } from "./audit-port.ts";
import type { BackendArray } from "./backend-array.ts";
import type { FrontendCodec, NameCodec } from "./codecs.ts";
import { Digest } from "./digest.ts";
import type { ExtentWord } from "./extent.ts";
import type { Layout } from "./layout.ts";
import type { BackendRow, FrontendKey, NameRow } from "./port.ts";

/** Rows of a hash that are read and compared in one go: about a millisecond. */
const ROWS = 512;
/** Words of an array that are digested in one go. */
const WORDS = 1 << 19;

export interface MapAuditParts {
  readonly frontends: BpfMap;
  readonly names: BpfMap;
  /** Small hashes that only their digest concerns. */
  readonly others: readonly BpfMap[];
  readonly frontend: FrontendCodec;
  readonly name: NameCodec;
  readonly services: MmapView;
  readonly service: Layout<"service">;
  readonly slots: Uint32Array;
  readonly backends: BackendArray;
  readonly bits: AddressBits;
  /** Called before each store; throws if the maps were opened for reading only. */
  readonly onStore: () => void;
}

export class MapAudit implements AuditPort {
  readonly #parts: MapAuditParts;
  readonly #services: Uint32Array;

  constructor(parts: MapAuditParts) {
    this.#parts = parts;
    this.#services = new Uint32Array(parts.services.buffer);
  }

  *digest({ services, backends, slots }: UsedIds): Generator<void, string> {
    const { frontends, names, others, services: view } = this.#parts;
    const digest = new Digest();
    for (const map of [frontends, names]) {
      for (const { keys, values, count } of batches(map)) {
        digest.rows(keys, values, count);
        yield;
      }
    }
    for (const map of others) for (const [key, value] of map.entries()) digest.rows(key, value, 1);
    const arrays: readonly (readonly [Uint32Array, number])[] = [
      [this.#services, (services * view.elementSize) / 4],
      [this.#parts.slots, slots],
      this.#parts.backends.words(backends),
    ];
    for (const [words, end] of arrays) {
      for (let at = 0; at < end; at += WORDS) {
        yield;
        digest.words(words, at, Math.min(end, at + WORDS));
      }
    }
    return digest.toString();
  }

  *frontendBatches(): Generator<Iterable<StoredFrontend>> {
    const { frontends, frontend } = this.#parts;
    for (const { keys, values, count } of batches(frontends)) {
      yield oneByOne(count, (i) => frontend.decodeStored(keys, values, i));
    }
  }

  hasFrontend(key: FrontendKey): boolean {
    return this.#parts.frontends.get(this.#parts.frontend.keys([key])) !== null;
  }

  deleteStray(key: Uint8Array): void {
    if (this.#parts.frontends.delete(key)) this.#parts.onStore();
  }

  *nameBatches(): Generator<Iterable<readonly [number, NameRow]>> {
    const { names, name } = this.#parts;
    for (const { keys, values, count } of batches(names)) {
      yield oneByOne(count, (i) => name.decode(keys, values, i));
    }
  }

  hasName(serviceId: number): boolean {
    return this.#parts.names.get(this.#parts.name.keys([serviceId])) !== null;
  }

  hasExtent(serviceId: number, set: "cluster" | "local", { base, count, algorithm }: ExtentWord): boolean {
    const at = (serviceId * this.#parts.services.elementSize + this.#parts.service.at[set]) >> 2;
    return this.#services[at] === base && this.#services[at + 1] === ((algorithm << 24) | count) >>> 0;
  }

  affinitySec(serviceId: number): number {
    return (
      this.#services[(serviceId * this.#parts.services.elementSize + this.#parts.service.at.affinity_sec) >> 2] ?? 0
    );
  }

  hasBackend(id: number, row: BackendIdentity): boolean {
    return this.#parts.backends.is(id, row);
  }

  restoreBackend(id: number, row: BackendRow): void {
    this.#parts.onStore();
    this.#parts.backends.restore(id, row);
  }

  mendAddressBits(): number {
    const mended = this.#parts.bits.mend();
    for (let i = 0; i < mended; i++) this.#parts.onStore();
    return mended;
  }
}

/** A batch's bytes are freed when the next is asked for: an idle agent would keep megabytes of them until it collects. */
function* batches(map: BpfMap): ReturnType<BpfMap["lookupBatch"]> {
  for (const batch of map.lookupBatch(ROWS)) {
    yield batch;
    for (const { buffer } of [batch.keys, batch.values]) (buffer as ArrayBuffer).transfer(0);
  }
}

/** A batch decoded at once would outlive a collection of young objects and stay until a whole one, in audit after audit. */
function* oneByOne<T>(count: number, decode: (i: number) => T): Generator<T> {
  for (let i = 0; i < count; i++) yield decode(i);
}
