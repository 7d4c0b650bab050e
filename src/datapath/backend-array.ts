// SPDX-License-Identifier: Apache-2.0
// pt_backends through its mapping. Rows are written with plain stores while nobody can reach them; what readers may
// see meanwhile (flags, generation) is one atomic store each.

import type { MmapView } from "libbpf-ts";
import type { Protocol } from "../model/types.ts";
import type { BackendIdentity } from "./audit-port.ts";
import { type Layout, LayoutError } from "./layout.ts";
import type { BackendRow } from "./port.ts";

export class BackendArray {
  readonly #view: MmapView;
  readonly #layout: Layout<"backend">;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;

  constructor(view: MmapView, layout: Layout<"backend">) {
    const { port, service_id, generation, flags } = layout.at;
    if (port % 2 !== 0 || service_id % 4 !== 0) throw new LayoutError(["struct backend has unaligned members"]);
    if (generation % 8 !== 0 || flags !== generation + 4) {
      throw new LayoutError(["generation and flags of struct backend are not one word"]);
    }
    this.#view = view;
    this.#layout = layout;
    this.#bytes = new Uint8Array(view.buffer);
    this.#halves = new Uint16Array(view.buffer);
    this.#words = new Uint32Array(view.buffer);
  }

  write(id: number, row: BackendRow): void {
    const start = this.#start(id);
    const { at } = this.#layout;
    for (let i = 0; i < 16; i++) this.#bytes[start + at.addr + i] = row.address[i] ?? 0;
    this.#halves[(start + at.port) >> 1] = row.port;
    this.#bytes[start + at.proto] = row.protocol;
    this.#words[(start + at.service_id) >> 2] = row.serviceId;
    this.#words[(start + at.generation) >> 2] = row.generation;
    this.#words[(start + at.flags) >> 2] = row.flags;
  }

  /** One store: no reader sees the new flags with the old generation. */
  setState(id: number, generation: number, flags: number): void {
    this.#view.store64(this.#start(id) + this.#layout.at.generation, (BigInt(flags) << 32n) | BigInt(generation));
  }

  is(id: number, { endpoints, endpoint, protocol, serviceId, generation, flags }: BackendIdentity): boolean {
    const start = this.#start(id);
    const { at } = this.#layout;
    for (let i = 0; i < 16; i++) if (this.#bytes[start + at.addr + i] !== endpoints[endpoint + i]) return false;
    const port = ((endpoints[endpoint + 16] ?? 0) << 8) | (endpoints[endpoint + 17] ?? 0);
    return (
      this.#halves[(start + at.port) >> 1] === port &&
      this.#bytes[start + at.proto] === protocol &&
      this.#words[(start + at.service_id) >> 2] === serviceId &&
      this.#words[(start + at.generation) >> 2] === generation &&
      this.#words[(start + at.flags) >> 2] === flags
    );
  }

  /** As write(), where somebody may be reading: each half of the address, and each other member, is one store. */
  restore(id: number, row: BackendRow): void {
    const start = this.#start(id);
    const { at } = this.#layout;
    const halves = new BigUint64Array(row.address.slice().buffer);
    for (const [i, half] of halves.entries()) this.#view.store64(start + at.addr + 8 * i, half);
    this.#halves[(start + at.port) >> 1] = row.port;
    this.#bytes[start + at.proto] = row.protocol;
    this.#words[(start + at.service_id) >> 2] = row.serviceId;
    this.setState(id, row.generation, row.flags);
  }

  /** The memory of all rows, and where that of id `end` begins, in words. */
  words(end: number): readonly [Uint32Array, number] {
    return [this.#words, Math.min(this.#words.length, (end * this.#view.elementSize) >> 2)];
  }

  service(id: number): number {
    return this.#words[(this.#start(id) + this.#layout.at.service_id) >> 2] ?? 0;
  }

  generation(id: number): number {
    return this.#words[(this.#start(id) + this.#layout.at.generation) >> 2] ?? 0;
  }

  flags(id: number): number {
    return this.#words[(this.#start(id) + this.#layout.at.flags) >> 2] ?? 0;
  }

  read(id: number): BackendRow {
    const start = this.#start(id);
    const { at } = this.#layout;
    return {
      address: this.#bytes.slice(start + at.addr, start + at.addr + 16),
      port: this.#halves[(start + at.port) >> 1] ?? 0,
      protocol: (this.#bytes[start + at.proto] ?? 0) as Protocol,
      serviceId: this.service(id),
      generation: this.generation(id),
      flags: this.flags(id),
    };
  }

  copyEndpoint(id: number, into: Uint8Array, offset: number): void {
    const start = this.#start(id);
    const { at } = this.#layout;
    for (let i = 0; i < 16; i++) into[offset + i] = this.#bytes[start + at.addr + i] ?? 0;
    const port = this.#halves[(start + at.port) >> 1] ?? 0;
    into[offset + 16] = port >> 8;
    into[offset + 17] = port & 0xff;
    into[offset + 18] = this.flags(id);
    into[offset + 19] = 0;
  }

  /** Ids below `end` whose row was ever written: a written row has a service id or a generation. */
  *used(end: number): Generator<number> {
    const { at } = this.#layout;
    const step = this.#view.elementSize >> 2;
    const service = at.service_id >> 2;
    const generation = at.generation >> 2;
    for (let id = 0, word = 0; id < end; id++, word += step) {
      if (this.#words[word + service] !== 0 || this.#words[word + generation] !== 0) yield id;
    }
  }

  #start(id: number): number {
    const start = id * this.#view.elementSize;
    if (start + this.#view.elementSize > this.#bytes.length)
      throw new RangeError(`backend id ${id} is outside pt_backends`);
    return start;
  }
}
