// SPDX-License-Identifier: Apache-2.0
// Who is connected to what, by the records of the socket programs: sockets that connect() led to an endpoint, with what
// they called. Read in slices, since the table has many places; the programs write while this reads.

import { setImmediate } from "node:timers/promises";
import type { BpfMap, Btf, MmapView } from "libbpf-ts";
import type { Protocol } from "../model/types.ts";
import { type Layout, SOCKET, structLayout } from "./layout.ts";

/** A connected socket and where it was led. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export interface Flow {
  readonly cookie: bigint;
  readonly protocol: Protocol;
  readonly frontendAddress: Uint8Array;
  readonly frontendPort: number;
  readonly backendAddress: Uint8Array;
  readonly backendPort: number;
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

/** Places looked at between two looks at the clock. */
const STEP = 1_024;
const TURN_MS = 3;
/** Top bit of a cookie's upper half: claimed, not written to the end. */
const WRITING = 0x8000_0000;

export class FlowTable implements Disposable {
  readonly #view: MmapView;
  readonly #overflow: MmapView;
  readonly #words: Uint32Array;
  readonly #layout: Layout<"socket_record">;

  /** Maps pt_sockets and pt_active, for reading only. Throws LayoutError if their BTF has other structures. */
  constructor(maps: { readonly sockets: BpfMap; readonly active: BpfMap }, btf: Btf) {
    this.#layout = structLayout(btf, "socket_record");
    structLayout(btf, "active");
    this.#view = maps.sockets.mmap({ readOnly: true });
    this.#overflow = maps.active.mmap({ readOnly: true });
    this.#words = new Uint32Array(this.#view.buffer);
  }

  /** Whether some records lie in sockets' own storage, where this table does not see them. */
  get overflows(): boolean {
    return this.#overflow.load64(0) !== 0n;
  }

  async find(query: FlowQuery): Promise<Flow[]> {
    const found: Flow[] = [];
    const { at } = this.#layout;
    const bytes = new Uint8Array(this.#view.buffer);
    const step = this.#view.elementSize;
    let turnMs = performance.now();
    for (let start = 0, place = 0; start < bytes.length; start += step, place++) {
      if (place % STEP === STEP - 1 && performance.now() - turnMs > TURN_MS) {
        await setImmediate();
        turnMs = performance.now();
      }
      if (!this.#isWhole(start)) continue;
      const port = (bytes[start + at.frontend_port] ?? 0) | ((bytes[start + at.frontend_port + 1] ?? 0) << 8);
      if (!query.concerns(bytes[start + at.proto] ?? 0, port)) continue;
      const flow = this.#read(start);
      if (flow !== null && query.matches(flow)) found.push(flow);
    }
    return found;
  }

  /** Of records as the kernel gives them elsewhere, one after the other. */
  findIn(records: Uint8Array, query: FlowQuery): Flow[] {
    const found: Flow[] = [];
    for (let start = 0; start + this.#layout.size <= records.length; start += this.#layout.size) {
      const flow = decodeFlow(records, start, { layout: this.#layout, stored: true });
      if (flow !== null && query.concerns(flow.protocol, flow.frontendPort) && query.matches(flow)) found.push(flow);
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

  /** Null: it changed under our eyes, or is no connection. */
  #read(start: number): Flow | null {
    const cookie = this.#view.load64(start + this.#layout.at.cookie);
    const flow = decodeFlow(new Uint8Array(this.#view.buffer), start, { layout: this.#layout, stored: false });
    return flow?.cookie === cookie && this.#view.load64(start + this.#layout.at.cookie) === cookie ? flow : null;
  }
}

/** Null: no whole record, or one of sendto(), which stands for no connection. */
function decodeFlow(
  bytes: Uint8Array,
  start: number,
  { layout: { at }, stored }: { layout: Layout<"socket_record">; stored: boolean },
): Flow | null {
  const data = new DataView(bytes.buffer, bytes.byteOffset + start);
  const cookie = data.getBigUint64(at.cookie, true);
  if (cookie === 0n || cookie >> 63n !== 0n || (data.getUint8(at.flags) & SOCKET.SENDTO) !== 0) return null;
  return {
    cookie,
    protocol: data.getUint8(at.proto) as Protocol,
    frontendAddress: bytes.slice(start + at.frontend_addr, start + at.frontend_addr + 16),
    frontendPort: data.getUint16(at.frontend_port, true),
    backendAddress: bytes.slice(start + at.backend_addr, start + at.backend_addr + 16),
    backendPort: data.getUint16(at.backend_port, true),
    serviceId: data.getUint32(at.service_id, true),
    stored,
  };
}

export function isSameFlow(a: Flow, b: Flow): boolean {
  return (
    a.cookie === b.cookie &&
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
