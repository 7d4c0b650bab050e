// SPDX-License-Identifier: Apache-2.0
// Writes Services into the mapped arrays store by store, in the order in which the agent must: fresh extent, publish,
// flags, grace, poison (in place of reuse). Each generator stops after every single store, where a crash may come.
// Set k of a Service has the IPv4 address k, so that whoever finds a backend can tell of which set it is.

import type { BpfObject, MmapView } from "libbpf-ts";
import { AddressBits } from "../../src/datapath/address-bits.ts";
import { addressBytes, Codec } from "./codec.ts";
import { ALGORITHM, BACKEND, extentWord, FRONTEND, PROTO } from "./table.ts";

/** The address of what must never be found again. */
export const CANARY = 0xdeadbeef;
const ALL = BACKEND.cluster | BACKEND.local | BACKEND.serving;
/** Backend ids and slots per Service: two sets that take turns, and the canary. */
const IDS = 16;
const SET = 7;
const SLOTS = 16;

export type Mutation =
  | "none"
  | "publish before the slots are written"
  | "reuse without grace"
  | "a slot before its backend is written";
export type Stores = Generator<void, void, void>;

const dotted = (n: number): string => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");

export class FlipWriter {
  readonly count: number;
  readonly inPlace: boolean;
  readonly #object: BpfObject;
  readonly #services: MmapView;
  readonly #slots: MmapView;
  readonly #backends: MmapView;
  readonly #epochs: MmapView;
  readonly #bitsView: MmapView;
  readonly #bits: AddressBits;
  readonly #backend: Codec;
  readonly #flagsAt: number;
  readonly #generationAt: number;

  /** `inPlace`: all sets are of one size, and take each other's slots. */
  constructor(object: BpfObject, count: number, inPlace = false) {
    this.count = count;
    this.inPlace = inPlace;
    this.#object = object;
    this.#services = object.map("pt_services").mmap();
    this.#slots = object.map("pt_slots").mmap();
    this.#backends = object.map("pt_backends").mmap();
    this.#epochs = object.map("probe_epochs").mmap();
    this.#bitsView = object.map("pt_address_bits").mmap();
    this.#bits = new AddressBits(this.#bitsView);
    using btf = object.btf();
    this.#backend = new Codec(btf, "backend");
    const at = (name: string): number => btf.struct("backend")?.members.find((m) => m.name === name)?.offset ?? -1;
    this.#flagsAt = at("flags");
    this.#generationAt = at("generation");
  }

  /** Service ids start at 1; size of set k: one to SET backends. */
  size(k: number): number {
    return this.inPlace ? SET : 1 + (k % SET);
  }

  /** Service n appears with set 1. */
  *add(n: number): Stores {
    for (const side of [0, 1]) this.#poison(n, side);
    this.#writeBackend(this.#canary(n), n, CANARY, 1);
    yield;
    this.#epochs.store64(n * 16, 1n); // .begin
    this.#epochs.store64(n * 16 + 8, 1n); // .end
    yield* this.#writeSet(n, 1);
    this.#publish(n, 1);
    yield;
    const { keys, values } = this.#frontend(n);
    this.#bits.cover(keys.subarray(0, 16));
    yield;
    this.#object.map("pt_frontends").set(keys, values);
    yield;
  }

  /** From set k to set k + 1, up to where the grace period begins. */
  *flip(n: number, k: number, mutation: Mutation = "none"): Stores {
    this.#epochs.store64(n * 16, BigInt(k + 1));
    if (this.inPlace) {
      yield* this.#replace(n, k, mutation);
      return;
    }
    if (mutation === "publish before the slots are written") {
      this.#publish(n, k + 1);
      yield;
      yield* this.#writeSet(n, k + 1);
    } else {
      yield* this.#writeSet(n, k + 1);
      this.#publish(n, k + 1);
      yield;
    }
    yield* this.#putOut(n, k);
    this.#epochs.store64(n * 16 + 8, BigInt(k + 1));
  }

  /** After the grace period: set k's ids and slots are reused, for something that nobody may find. */
  *retire(n: number, k: number): Stores {
    for (const id of this.#ids(n, k)) {
      this.#backends.store32(id * this.#backends.elementSize + this.#generationAt, k + 1);
      yield;
      this.#writeBackend(id, n, CANARY, k + 1);
      yield;
    }
    if (!this.inPlace) this.#poison(n, k % 2);
    yield;
  }

  /** Service n disappears: frontend, extent, backends; grace; reuse. */
  *remove(n: number, k: number): Stores {
    this.#object.map("pt_frontends").delete(this.#frontend(n).keys);
    yield;
    this.#services.store64((n + 1) * this.#services.elementSize, extentWord(0, 0, ALGORITHM.reject));
    yield;
    yield* this.#putOut(n, k);
  }

  close(): void {
    for (const view of [this.#services, this.#slots, this.#backends, this.#epochs, this.#bitsView]) view.close();
  }

  /** Each slot in place, and no word at all. */
  *#replace(n: number, k: number, mutation: Mutation): Stores {
    const late = mutation === "a slot before its backend is written";
    for (const [i, id] of this.#ids(n, k + 1).entries()) {
      if (!late) this.#writeBackend(id, n, k + 1, k + 1);
      yield;
      this.#slots.store32((n * SLOTS + SLOTS / 2 + i) * 4, id);
      yield;
      if (late) this.#writeBackend(id, n, k + 1, k + 1);
    }
    yield* this.#putOut(n, k);
    this.#epochs.store64(n * 16 + 8, BigInt(k + 1));
  }

  /** Set k is out of use, by one store for each: no flags, and another generation. */
  *#putOut(n: number, k: number): Stores {
    for (const id of this.#ids(n, k)) {
      this.#backends.store64(id * this.#backends.elementSize + this.#generationAt, BigInt(k + 1));
      yield;
    }
  }

  #canary(n: number): number {
    return 1 + n * IDS + 2 * SET;
  }

  #ids(n: number, k: number): number[] {
    return Array.from({ length: this.size(k) }, (_, i) => 1 + n * IDS + (k % 2) * SET + i);
  }

  #writeBackend(id: number, n: number, address: number, generation: number): void {
    const row = { addr: addressBytes(dotted(address)), port: 80, proto: PROTO.tcp, service_id: n + 1, generation };
    const at = id * this.#backends.elementSize;
    new Uint8Array(this.#backends.buffer, at, this.#backend.size).set(this.#backend.encode(row));
    this.#backends.store32(at + this.#flagsAt, ALL);
  }

  *#writeSet(n: number, k: number): Stores {
    const ids = this.#ids(n, k);
    for (const id of ids) {
      this.#writeBackend(id, n, k, k);
      yield;
    }
    for (const [i, id] of ids.entries()) {
      this.#slots.store32((n * SLOTS + (k % 2) * (SLOTS / 2) + i) * 4, id);
      yield;
    }
  }

  #publish(n: number, k: number): void {
    const base = n * SLOTS + (k % 2) * (SLOTS / 2);
    this.#services.store64((n + 1) * this.#services.elementSize, extentWord(base, this.size(k), ALGORITHM.random));
  }

  #poison(n: number, side: number): void {
    for (let i = 0; i < SLOTS / 2; i++) {
      this.#slots.store32((n * SLOTS + side * (SLOTS / 2) + i) * 4, this.#canary(n));
    }
  }

  #frontend(n: number): { keys: Uint8Array; values: Uint8Array } {
    using btf = this.#object.btf();
    const addr = addressBytes(`10.96.${n >> 8}.${n & 255}`);
    return {
      keys: new Codec(btf, "frontend_key").encode({ addr, port: 80, proto: PROTO.tcp }),
      values: new Codec(btf, "frontend").encode({ service_id: n + 1, flags: FRONTEND.clusterIp }),
    };
  }
}
