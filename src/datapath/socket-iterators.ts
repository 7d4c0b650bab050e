// SPDX-License-Identifier: Apache-2.0
// Iterators over sockets, for which it takes CAP_PERFMON: one kind ends them (kill.bpf.c, Linux 6.5), one lists the
// records that lie in their own storage (overflow.bpf.c). The programs stay loaded and are run by reading them.

import { BpfError, type BpfMap, BpfObject, type BpfProgram, collectIterator } from "libbpf-ts";
import { PROTOCOL, type Protocol } from "../model/types.ts";
import type { Flow } from "./flows.ts";
import { type Layout, structLayout } from "./layout.ts";
import { Turns } from "./turns.ts";

/** Flows written at once: about a millisecond's. */
const CHUNK = 1_024;

export class SocketIterators implements Disposable {
  readonly #object: BpfObject;
  readonly #doomed: BpfMap;
  readonly #programs: Readonly<Record<Protocol, BpfProgram | null>>;
  readonly #layout: Layout<"doomed">;

  /** Throws BpfError where the kernel or the capabilities do not allow it. */
  constructor(objectFile: string) {
    this.#object = BpfObject.open(objectFile);
    try {
      this.#object.load();
      using btf = this.#object.btf();
      this.#layout = structLayout(btf, "doomed");
    } catch (error) {
      this.#object.close();
      throw error;
    }
    this.#doomed = this.#object.map("pt_doomed");
    this.#programs = {
      [PROTOCOL.TCP]: this.#object.program("pt_end_tcp"),
      [PROTOCOL.UDP]: this.#object.program("pt_end_udp"),
      [PROTOCOL.SCTP]: null,
    };
  }

  /** How many flows doom() takes. */
  get room(): number {
    return this.#doomed.info.maxEntries;
  }

  /** Names the flows whose sockets end() ends, all of them or none; until they are spared. Rejects with BpfError. */
  doom(flows: readonly Flow[]): Promise<void> {
    return this.#write(flows, (some) => this.#doomed.updateBatch(keysOf(some), this.#peers(some), some.length));
  }

  /** These are named no more. They were, each once. */
  spare(flows: readonly Flow[]): Promise<void> {
    return this.#write(flows, (some) => this.#doomed.deleteBatch(keysOf(some), some.length));
  }

  /**
   * Ends the named sockets of one protocol and network namespace (a path; null: this process'), as far as they are still
   * connected to the flow's endpoint. Gives the cookies of those ended.
   */
  async end(protocol: Protocol, netns: string | null): Promise<BigUint64Array> {
    const program = this.#programs[protocol];
    if (program === null) return new BigUint64Array(0);
    const ended = await collectIterator(program, netns === null ? {} : { netns });
    return new BigUint64Array(ended.buffer, ended.byteOffset, ended.length / 8);
  }

  [Symbol.dispose](): void {
    this.#doomed.close();
    for (const program of Object.values(this.#programs)) program?.close();
    this.#object.close();
  }

  async #write(flows: readonly Flow[], write: (some: readonly Flow[]) => void): Promise<void> {
    const turns = new Turns();
    try {
      for (let at = 0; at < flows.length; at += CHUNK) {
        if (at > 0) await turns.next();
        write(flows.slice(at, at + CHUNK));
      }
    } catch (error) {
      // Who is left in the map ends when he calls the same endpoint again.
      for (const key of [...this.#doomed.keys()]) this.#doomed.delete(key);
      throw error;
    }
  }

  #peers(flows: readonly Flow[]): Uint8Array {
    const { at, size } = this.#layout;
    const values = new Uint8Array(flows.length * size);
    const data = new DataView(values.buffer);
    for (const [i, { backendAddress, backendPort }] of flows.entries()) {
      values.set(backendAddress, i * size + at.addr);
      data.setUint16(i * size + at.port, backendPort, true);
    }
    return values;
  }
}

const keysOf = (flows: readonly Flow[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from(flows, ({ cookie }) => cookie).buffer);

/** The records in pt_sockets_ovf, which no table shows. */
export class OverflowList implements Disposable {
  readonly #object: BpfObject;

  /** Throws BpfError where the kernel or the capabilities do not allow it. */
  constructor(objectFile: string) {
    this.#object = BpfObject.open(objectFile);
    try {
      this.#object.load();
    } catch (error) {
      this.#object.close();
      throw error;
    }
  }

  /** Those of all network namespaces, one after the other. Rejects with BpfError: EFBIG if they take more than 32 MiB. */
  async records(storage: BpfMap): Promise<Uint8Array> {
    using program = this.#object.program("pt_list_overflow");
    return await collectIterator(program, { map: storage });
  }

  [Symbol.dispose](): void {
    this.#object.close();
  }
}

/** Why sockets cannot be ended by iterators; null: they can. */
export function iteratorProblem(objectFile: string): string | null {
  const error = failureOf(() => new SocketIterators(objectFile));
  if (error === null) return null;
  return error.code === "EPERM" ? "CAP_PERFMON is missing" : "the kernel has no bpf_sock_destroy (Linux 6.5)";
}

export function canListOverflow(objectFile: string): boolean {
  return failureOf(() => new OverflowList(objectFile)) === null;
}

function failureOf(open: () => Disposable): BpfError | null {
  try {
    open()[Symbol.dispose]();
    return null;
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
}
