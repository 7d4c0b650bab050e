// SPDX-License-Identifier: Apache-2.0
// A history of many Services at once: each step changes, removes and brings back some of them and their slices, and now
// and then the node's zone. Says what to do; what an API server makes of it is not known here.

import { Random } from "../support/random.ts";
import type { ApiObject } from "./api-client.ts";
import { randomService } from "./random-services.ts";
import { randomSlice, randomTemper, type Temper, ZONES } from "./random-slices.ts";

const MOST_SLICES = 4;

interface Slot {
  temper: Temper;
  service: ApiObject;
  hasService: boolean;
  readonly slices: (ApiObject | null)[];
}

export interface WorldStep {
  readonly remove: readonly ApiObject[];
  readonly apply: readonly ApiObject[];
  /** The agent is not there while this happens. */
  readonly killed: boolean;
  /** The node's; "" for none. */
  readonly zone: string;
}

export class RandomWorld {
  readonly #random: Random;
  readonly #slots: Slot[];
  #zone = "";
  readonly #remove = new Map<string, ApiObject>();
  readonly #apply = new Map<string, ApiObject>();

  constructor(seed: number, services: number) {
    this.#random = new Random(seed);
    this.#slots = Array.from({ length: services }, (_, slot) => ({
      temper: randomTemper(this.#random),
      service: randomService(this.#random, slot, services),
      hasService: false,
      slices: Array.from({ length: MOST_SLICES }, () => null),
    }));
  }

  /** The first: everything there is. */
  begin(): WorldStep {
    this.#zone = this.#random.pick(["", ...ZONES]);
    for (const [slot, it] of this.#slots.entries()) {
      if (this.#random.chance(0.95)) this.#putService(it);
      const count = this.#random.pick([0, 1, 2, 2, 3, 3, 4]);
      for (let index = 0; index < count; index++) this.#putSlice(slot, index);
    }
    return this.#step();
  }

  /** Something happens to about one Service in three. */
  next(): WorldStep {
    for (const [slot, it] of this.#slots.entries()) if (this.#random.chance(0.35)) this.#change(slot, it);
    if (this.#random.chance(0.5)) this.#zone = this.#random.pick(["", ...ZONES]);
    return this.#step();
  }

  #change(slot: number, it: Slot): void {
    const what = this.#random.below(10);
    const index = this.#random.below(MOST_SLICES);
    if (what === 0) this.#removeService(it);
    else if (what === 1) for (const each of it.slices.keys()) this.#removeSlice(it, each);
    else if (what <= 3) this.#removeSlice(it, index);
    else if (what === 4) {
      it.temper = randomTemper(this.#random);
      for (const [each, slice] of it.slices.entries()) if (slice !== null) this.#putSlice(slot, each);
    } else if (what <= 6) {
      it.service = randomService(this.#random, slot, this.#slots.length);
      this.#putService(it);
    } else this.#putSlice(slot, index);
    if (!it.hasService && this.#random.chance(0.5)) this.#putService(it);
  }

  #putService(it: Slot): void {
    it.hasService = true;
    this.#put(it.service);
  }

  #removeService(it: Slot): void {
    if (it.hasService) this.#take(it.service);
    it.hasService = false;
  }

  #putSlice(slot: number, index: number): void {
    const it = this.#slots[slot] as Slot;
    const slice = randomSlice(this.#random, { slot, index, temper: it.temper }, it.service);
    it.slices[index] = slice;
    this.#put(slice);
  }

  #removeSlice(it: Slot, index: number): void {
    const slice = it.slices[index] ?? null;
    if (slice !== null) this.#take(slice);
    it.slices[index] = null;
  }

  #put(object: ApiObject): void {
    this.#apply.set(keyOf(object), object);
  }

  #take(object: ApiObject): void {
    this.#apply.delete(keyOf(object));
    this.#remove.set(keyOf(object), object);
  }

  #step(): WorldStep {
    const apply = this.#random.some([...this.#apply.values()], this.#apply.size);
    const killed = this.#random.chance(0.2);
    const step = { remove: [...this.#remove.values()], apply, killed, zone: this.#zone };
    this.#remove.clear();
    this.#apply.clear();
    return step;
  }
}

const keyOf = ({ kind, metadata }: ApiObject): string => `${kind} ${metadata.name}`;
