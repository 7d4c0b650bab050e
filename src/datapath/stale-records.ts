// SPDX-License-Identifier: Apache-2.0
// Records of TCP sockets that ended without the programs hearing of it: of the sockets below an MPTCP one, and of the
// kernel's own (NFS and the like), no release is told. Their places are freed, and their connections counted no more.

import { type BpfMap, type Btf, gracePeriod, type MmapView } from "libbpf-ts";
import { PROTOCOL } from "../model/types.ts";
import { type Layout, SOCKET, structLayout } from "./layout.ts";
import { Turns } from "./turns.ts";

/** SOCKET_WRITING of bpf/types.h. */
const WRITING = 1n << 63n;

/** A place in pt_sockets and the cookie of the socket that has it. */
export type Places = ReadonlyMap<number, bigint>;

export interface StaleRecordsParts {
  readonly sockets: BpfMap;
  readonly active: BpfMap;
  /** Of a backend's row, by id. */
  readonly generation: (id: number) => number;
}

export class StaleRecords implements Disposable {
  readonly #records: MmapView;
  readonly #active: MmapView;
  readonly #layout: Layout<"socket_record">;
  readonly #generation: (id: number) => number;

  constructor({ sockets, active, generation }: StaleRecordsParts, btf: Btf) {
    this.#layout = structLayout(btf, "socket_record");
    this.#generation = generation;
    this.#records = sockets.mmap();
    this.#active = active.mmap();
  }

  /** Of TCP sockets, also such as an agent that was killed had begun to free. */
  async places(): Promise<Map<number, bigint>> {
    const found = new Map<number, bigint>();
    const { elementSize, buffer } = this.#records;
    const data = new DataView(buffer);
    const turns = new Turns();
    for (let start = 0; start < buffer.byteLength; start += elementSize) {
      if (turns.isOver()) await turns.next();
      if (data.getUint8(start + this.#layout.at.proto) !== PROTOCOL.TCP) continue;
      const cookie = this.#cookieAt(start) & ~WRITING;
      if (cookie !== 0n) found.set(start / elementSize, cookie);
    }
    return found;
  }

  /**
   * Frees places of sockets that are gone. Each is taken first, so that no program finds it; one that had found it is
   * over after a grace period, and has freed it. Returns how many were freed here.
   */
  async free(places: Places): Promise<number> {
    const taken = [...places].filter(([place, cookie]) => this.#take(place, cookie));
    if (taken.length === 0) return 0;
    await gracePeriod();
    return taken.filter(([place, cookie]) => this.#release(place, cookie)).length;
  }

  [Symbol.dispose](): void {
    this.#records.close();
    this.#active.close();
  }

  #take(place: number, cookie: bigint): boolean {
    const at = place * this.#records.elementSize + this.#layout.at.cookie;
    const before = this.#records.compareExchange64(at, cookie, cookie | WRITING);
    return before === cookie || before === (cookie | WRITING);
  }

  #release(place: number, cookie: bigint): boolean {
    const start = place * this.#records.elementSize;
    if (this.#cookieAt(start) !== (cookie | WRITING)) return false;
    const { at } = this.#layout;
    const data = new DataView(this.#records.buffer);
    const id = data.getUint32(start + at.backend_id, true);
    const isCounted = (data.getUint8(start + at.flags) & SOCKET.COUNTED) !== 0;
    if (isCounted && this.#generation(id) === data.getUint32(start + at.generation, true)) {
      this.#active.add64(id * this.#active.elementSize, -1n);
    }
    this.#records.compareExchange64(start + at.cookie, cookie | WRITING, 0n);
    return true;
  }

  #cookieAt(start: number): bigint {
    return this.#records.load64(start + this.#layout.at.cookie);
  }
}
