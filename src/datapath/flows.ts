// SPDX-License-Identifier: Apache-2.0
// Who is connected to what, by the records of the socket programs: sockets that connect() led to an endpoint, or nowhere,
// with what they called. Read in slices, since the table has many places; the programs write while this reads.

import type { BpfMap, Btf, MmapView } from "libbpf-ts";
import { ADDRESS_BYTES } from "../model/address.ts";
import type { Protocol } from "../model/types.ts";
import { type Layout, SOCKET, structLayout } from "./layout.ts";
import { Turns } from "./turns.ts";

/** A connected socket and where it was led. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export interface Flow {
  readonly cookie: bigint;
  readonly protocol: Protocol;
  readonly frontendAddress: Uint8Array;
  readonly frontendPort: number;
  /** The frontend's own address and port, and id 0: it was led nowhere. */
  readonly backendAddress: Uint8Array;
  readonly backendPort: number;
  readonly backendId: number;
  /** Of the backend's row when the socket was led to it. */
  readonly generation: number;
  readonly serviceId: number;
  /** The record lies in the socket's own storage: no table says when it goes. */
  readonly stored: boolean;
}

/** Whose flows are looked for. */
export interface FlowQuery {
  /** A first look at every record: may it be one of them? */
  concerns(protocol: number, frontendPort: number): boolean;
  matches(flow: Flow): boolean;
}

/** A prime: addresses that differ by a power of two have different places. */
const SHARED_ADDRESSES = 1_021;
/** Top bit of a cookie's upper half: claimed, not written to the end. */
const WRITING = 0x8000_0000;

export class FlowTable implements Disposable {
  readonly #view: MmapView;
  readonly #overflow: MmapView;
  readonly #words: Uint32Array;
  readonly #layout: Layout<"socket_record">;
  readonly #decoder: FlowDecoder;

  /** Maps pt_sockets and pt_active, for reading only. Throws LayoutError if their BTF has other structures. */
  constructor(maps: { readonly sockets: BpfMap; readonly active: BpfMap }, btf: Btf) {
    this.#layout = structLayout(btf, "socket_record");
    structLayout(btf, "active");
    this.#view = maps.sockets.mmap({ readOnly: true });
    this.#overflow = maps.active.mmap({ readOnly: true });
    this.#words = new Uint32Array(this.#view.buffer);
    this.#decoder = new FlowDecoder(new Uint8Array(this.#view.buffer), this.#layout, false);
  }

  /** Whether some records lie in sockets' own storage, where this table does not see them. */
  get overflows(): boolean {
    return this.#overflow.load64(0) !== 0n;
  }

  async find(query: FlowQuery): Promise<Flow[]> {
    const found: Flow[] = [];
    const bytes = new Uint8Array(this.#view.buffer);
    const turns = new Turns();
    for (let start = 0; start < bytes.length; start += this.#view.elementSize) {
      if (turns.isOver()) await turns.next();
      if (!this.#isWhole(start) || !this.#concerns(query, bytes, start)) continue;
      const flow = this.#read(start);
      if (flow !== null && query.matches(flow)) found.push(flow);
    }
    return found;
  }

  /** Of records as the kernel gives them elsewhere, one after the other. */
  async findIn(records: Uint8Array, query: FlowQuery): Promise<Flow[]> {
    const found: Flow[] = [];
    const decoder = new FlowDecoder(records, this.#layout, true);
    const turns = new Turns();
    for (let start = 0; start + this.#layout.size <= records.length; start += this.#layout.size) {
      if (turns.isOver()) await turns.next();
      if (!this.#concerns(query, records, start)) continue;
      const flow = decoder.flow(start);
      if (flow !== null && query.matches(flow)) found.push(flow);
    }
    return found;
  }

  /**
   * Whether the socket is still where the flow says, by the call that the flow says, as far as this table knows. A second
   * look also tells a flow that was read from two calls, in the moment between them.
   */
  holds(flow: Flow): boolean {
    const places = this.#view.buffer.byteLength / this.#view.elementSize;
    const start = Number(flow.cookie % BigInt(places)) * this.#view.elementSize;
    const now = this.#isWhole(start) ? this.#read(start) : null;
    return now !== null && isSameFlow(now, flow);
  }

  close(): void {
    this.#view.close();
    this.#overflow.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #isWhole(start: number): boolean {
    const word = (start + this.#layout.at.cookie) >> 2;
    const high = this.#words[word + 1] ?? 0;
    return high < WRITING && (high !== 0 || (this.#words[word] ?? 0) !== 0);
  }

  #concerns(query: FlowQuery, bytes: Uint8Array, start: number): boolean {
    const { at } = this.#layout;
    const port = (bytes[start + at.frontend_port] ?? 0) | ((bytes[start + at.frontend_port + 1] ?? 0) << 8);
    return query.concerns(bytes[start + at.proto] ?? 0, port);
  }

  /** Null: it changed under our eyes, or is no connection. */
  #read(start: number): Flow | null {
    const cookie = this.#view.load64(start + this.#layout.at.cookie);
    const flow = this.#decoder.flow(start);
    return flow?.cookie === cookie && this.#view.load64(start + this.#layout.at.cookie) === cookie ? flow : null;
  }
}

class FlowDecoder {
  readonly #bytes: Uint8Array;
  readonly #data: DataView;
  readonly #at: Layout<"socket_record">["at"];
  readonly #stored: boolean;
  /** Addresses met last, by their last bytes: very many flows have few, and share them. */
  readonly #addresses: Uint8Array[] = [];

  constructor(bytes: Uint8Array, { at }: Layout<"socket_record">, stored: boolean) {
    this.#bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
    this.#stored = stored;
  }

  /** Null: no whole record, or one of sendto(), which stands for no connection. */
  flow(start: number): Flow | null {
    const data = this.#data;
    const at = this.#at;
    const cookie = data.getBigUint64(start + at.cookie, true);
    if (cookie === 0n || cookie >> 63n !== 0n || (data.getUint8(start + at.flags) & SOCKET.SENDTO) !== 0) return null;
    return {
      cookie,
      protocol: data.getUint8(start + at.proto) as Protocol,
      frontendAddress: this.#address(start + at.frontend_addr),
      frontendPort: data.getUint16(start + at.frontend_port, true),
      backendAddress: this.#address(start + at.backend_addr),
      backendPort: data.getUint16(start + at.backend_port, true),
      backendId: data.getUint32(start + at.backend_id, true),
      generation: data.getUint32(start + at.generation, true),
      serviceId: data.getUint32(start + at.service_id, true),
      stored: this.#stored,
    };
  }

  /** A copy: the record may change. */
  #address(start: number): Uint8Array {
    const place = this.#data.getUint16(start + ADDRESS_BYTES - 2) % SHARED_ADDRESSES;
    const known = this.#addresses[place];
    if (known !== undefined && this.#isAt(known, start)) return known;
    const copy = this.#bytes.slice(start, start + ADDRESS_BYTES);
    this.#addresses[place] = copy;
    return copy;
  }

  #isAt(address: Uint8Array, start: number): boolean {
    for (let i = 0; i < ADDRESS_BYTES; i++) if (address[i] !== this.#bytes[start + i]) return false;
    return true;
  }
}

/** Whether both are of one call, as far as records tell. */
export function isSameFlow(a: Flow, b: Flow): boolean {
  return (
    a.cookie === b.cookie &&
    a.backendId === b.backendId &&
    a.generation === b.generation &&
    a.serviceId === b.serviceId &&
    a.backendPort === b.backendPort &&
    a.frontendPort === b.frontendPort &&
    sameAddress(a.backendAddress, b.backendAddress) &&
    sameAddress(a.frontendAddress, b.frontendAddress)
  );
}

export function sameAddress(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) if (a[i] !== b[i]) return false;
  return true;
}
