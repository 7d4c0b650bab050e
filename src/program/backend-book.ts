// SPDX-License-Identifier: Apache-2.0
// The generation and flags that every backend id was given last. All writes to pt_backends go through here, so that the
// audit knows what should stand there, also where no unit has the id.

import { ENDPOINT_STRIDE } from "../compile/unit.ts";
import type { MapPort } from "../datapath/port.ts";
import type { Protocol } from "../model/types.ts";

/** A generation is even while the id is in use and odd from its retirement on, so a restart knows free ids from stray ones. */
export function isRetired(generation: number): boolean {
  return generation % 2 === 1;
}

/** Room is made for so many ids at once. */
const STEP = 1 << 14;

export interface NewBackend {
  /** Unit.endpoints, and which of them. */
  readonly endpoints: Uint8Array;
  readonly index: number;
  readonly serviceId: number;
  readonly protocol: Protocol;
}

export class BackendBook {
  readonly #port: MapPort;
  #generations = new Uint32Array(STEP);
  #flags = new Uint8Array(STEP);
  /** Filled for each backend in turn: a cold start writes hundreds of thousands. */
  readonly #row = {
    address: new Uint8Array(16),
    port: 0,
    protocol: 6 as Protocol,
    serviceId: 0,
    generation: 0,
    flags: 0,
  };

  /** As the maps have it now. */
  constructor(port: MapPort) {
    this.#port = port;
    for (const id of port.usedBackends()) this.#note(id, port.backendGeneration(id), port.backendFlags(id));
  }

  /** Ids from here on were never written. */
  get end(): number {
    return this.#flags.length;
  }

  generation(id: number): number {
    return this.#generations[id] ?? 0;
  }

  flags(id: number): number {
    return this.#flags[id] ?? 0;
  }

  /** Only while nobody can reach the id. */
  write(id: number, { endpoints, index, serviceId, protocol }: NewBackend): void {
    const at = index * ENDPOINT_STRIDE;
    const generation = this.generation(id);
    const row = this.#row;
    for (let i = 0; i < 16; i++) row.address[i] = endpoints[at + i] ?? 0;
    row.port = ((endpoints[at + 16] ?? 0) << 8) | (endpoints[at + 17] ?? 0);
    row.protocol = protocol;
    row.serviceId = serviceId;
    row.generation = isRetired(generation) ? (generation + 1) >>> 0 : generation;
    row.flags = endpoints[at + 18] ?? 0;
    this.#port.writeBackend(id, row);
    this.#note(id, row.generation, row.flags);
  }

  setFlags(id: number, flags: number): void {
    this.#set(id, this.generation(id), flags);
  }

  /** Out of use: nobody finds it any more, and what the programs remember of it is void. */
  retire(id: number): void {
    const generation = this.generation(id);
    const next = isRetired(generation) ? generation : (generation + 1) >>> 0;
    if (next !== generation || this.flags(id) !== 0) this.#set(id, next, 0);
  }

  /** Writes what the book says. */
  restore(id: number): void {
    this.#port.setBackendState(id, this.generation(id), this.flags(id));
  }

  #set(id: number, generation: number, flags: number): void {
    this.#port.setBackendState(id, generation, flags);
    this.#note(id, generation, flags);
  }

  #note(id: number, generation: number, flags: number): void {
    if (id >= this.#flags.length) this.#grow(id);
    this.#generations[id] = generation;
    this.#flags[id] = flags;
  }

  #grow(id: number): void {
    const length = (Math.floor(id / STEP) + 1) * STEP;
    const generations = new Uint32Array(length);
    const flags = new Uint8Array(length);
    generations.set(this.#generations);
    flags.set(this.#flags);
    this.#generations = generations;
    this.#flags = flags;
  }
}
