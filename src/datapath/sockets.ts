// SPDX-License-Identifier: Apache-2.0
// pt_sockets read through its mapping: who on this node is connected to what. The programs write while this reads.

import type { BpfMap, Btf, MmapView } from "libbpf-ts";
import { formatAddress } from "../model/address.ts";
import type { Protocol } from "../model/types.ts";
import { type Layout, SOCKET, structLayout } from "./layout.ts";

export interface SocketRecord {
  /** The kernel's socket cookie, as sock_diag and ss -e show it. */
  readonly cookie: bigint;
  readonly protocol: Protocol;
  /** What the application called, canonical text. */
  readonly frontendAddress: string;
  readonly frontendPort: number;
  /** Whom it was led to. */
  readonly backendAddress: string;
  readonly backendPort: number;
  readonly backendId: number;
  readonly generation: number;
  readonly serviceId: number;
  /** Whether it is counted in pt_active. */
  readonly counted: boolean;
}

/** Top bit of a cookie's upper half: claimed, not written to the end. */
const WRITING = 0x8000_0000;

export class SocketTable implements Disposable {
  readonly #view: MmapView;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #data: DataView;
  readonly #layout: Layout<"socket_record">;

  /** Maps pt_sockets, for reading only. Throws LayoutError if its BTF has another record. */
  constructor(map: BpfMap, btf: Btf) {
    this.#layout = structLayout(btf, "socket_record");
    this.#view = map.mmap({ readOnly: true });
    this.#words = new Uint32Array(this.#view.buffer);
    this.#bytes = new Uint8Array(this.#view.buffer);
    this.#data = new DataView(this.#view.buffer);
  }

  /** Records that were whole while they were read; those that change meanwhile are left out. */
  *records(): Generator<SocketRecord> {
    for (const start of this.#occupied()) {
      const cookie = this.#view.load64(start + this.#layout.at.cookie);
      const record = this.#decode(start, cookie);
      if (this.#view.load64(start + this.#layout.at.cookie) === cookie) yield record;
    }
  }

  /** Counted records by backend id and generation ("id.generation"), to set pt_active right by. */
  countByBackend(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { backendId, generation, counted } of this.records()) {
      if (!counted) continue;
      const key = `${backendId}.${generation}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  /** How many slots hold a record. */
  get used(): number {
    let used = 0;
    for (const _ of this.#occupied()) used++;
    return used;
  }

  get capacity(): number {
    return this.#bytes.length / this.#view.elementSize;
  }

  close(): void {
    this.#view.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  *#occupied(): Generator<number> {
    const step = this.#view.elementSize;
    for (let start = 0; start < this.#bytes.length; start += step) {
      const word = (start + this.#layout.at.cookie) >> 2;
      const low = this.#words[word] ?? 0;
      const high = this.#words[word + 1] ?? 0;
      if ((low !== 0 || high !== 0) && high < WRITING) yield start;
    }
  }

  #decode(start: number, cookie: bigint): SocketRecord {
    const { at } = this.#layout;
    const u16 = (offset: number): number => this.#data.getUint16(start + offset, true);
    const u32 = (offset: number): number => this.#data.getUint32(start + offset, true);
    return {
      cookie,
      protocol: (this.#bytes[start + at.proto] ?? 0) as Protocol,
      frontendAddress: formatAddress(this.#bytes, start + at.frontend_addr),
      frontendPort: u16(at.frontend_port),
      backendAddress: formatAddress(this.#bytes, start + at.backend_addr),
      backendPort: u16(at.backend_port),
      backendId: u32(at.backend_id),
      generation: u32(at.generation),
      serviceId: u32(at.service_id),
      counted: ((this.#bytes[start + at.flags] ?? 0) & SOCKET.COUNTED) !== 0,
    };
  }
}
