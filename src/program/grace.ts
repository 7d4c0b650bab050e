// SPDX-License-Identifier: Apache-2.0
// What was taken out of use and may still be seen by a running program. Everything waits for one grace period a batch,
// off the main thread. A backend's generation moved on when its flags went: a socket that is being closed either saw the
// old one and ends within the grace period, or leaves the counter alone; so the counter is set back after it.

import type { MapPort } from "../datapath/port.ts";
import type { ExtentAllocator, IdAllocator, SlotRun } from "./allocator.ts";
import type { LeavingRange, SourceRangeWriter } from "./source-ranges.ts";

/** Out of reach of new lookups: no row leads to it any more, no extent word, or (backends) no live flag. */
export interface Retired {
  readonly backends: number[];
  readonly extents: SlotRun[];
  readonly services: number[];
  readonly ranges: LeavingRange[];
}

export function nothingRetired(): Retired {
  return { backends: [], extents: [], services: [], ranges: [] };
}

/** Adds `more` to `to`. */
export function alsoRetired(to: Retired, more: Retired): void {
  for (const id of more.backends) to.backends.push(id);
  for (const run of more.extents) to.extents.push(run);
  for (const id of more.services) to.services.push(id);
  for (const range of more.ranges) to.ranges.push(range);
}

function isEmpty(retired: Retired): boolean {
  return Object.values(retired).every((list) => list.length === 0);
}

export interface QuarantineOptions {
  readonly services: IdAllocator;
  readonly backends: IdAllocator;
  readonly slots: ExtentAllocator;
  readonly ranges: SourceRangeWriter;
  /** Something that was in use before became free: what was refused may fit now. */
  readonly onFreed: () => void;
}

export class Quarantine {
  readonly #port: MapPort;
  readonly #options: QuarantineOptions;
  #waiting: Retired = nothingRetired();
  #freesRoom = false;
  #running: Promise<void> | null = null;
  #heldBackends = 0;
  #graces = 0;
  #failure: string | null = null;

  constructor(port: MapPort, options: QuarantineOptions) {
    this.#port = port;
    this.#options = options;
  }

  /** Grace periods waited for. */
  get graces(): number {
    return this.#graces;
  }

  /** Why the last round could not be finished, in words; it is taken up again by kick(). */
  get failure(): string | null {
    return this.#failure;
  }

  /** Backend ids that are not free yet. */
  get backends(): number {
    return this.#heldBackends;
  }

  /** One batch: what was programmed, and what was only tried, whose going leaves no room that was not there before. */
  add({ retired, reverted }: { readonly retired: Retired; readonly reverted: Retired }): void {
    alsoRetired(this.#waiting, retired);
    alsoRetired(this.#waiting, reverted);
    this.#heldBackends += retired.backends.length + reverted.backends.length;
    this.#freesRoom ||= !isEmpty(retired);
    this.kick();
  }

  /** Starts a round unless one is under way or nothing waits. */
  kick(): void {
    if (this.#running !== null || isEmpty(this.#waiting)) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Resolves when nothing is left that a grace period can free. */
  async settled(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #run(): Promise<void> {
    this.#failure = null;
    while (this.#failure === null && !isEmpty(this.#waiting)) {
      const batch = this.#waiting;
      const freesRoom = this.#freesRoom;
      this.#waiting = nothingRetired();
      this.#freesRoom = false;
      try {
        await this.#port.grace();
        this.#graces++;
      } catch (error) {
        this.#failure = `no grace period: ${(error as Error).message}`;
        this.#freesRoom ||= freesRoom;
        this.#takeBack(batch);
        return;
      }
      this.#free(batch);
      if (freesRoom) this.#options.onFreed();
    }
  }

  #takeBack(batch: Retired): void {
    this.#waiting = {
      backends: [...batch.backends, ...this.#waiting.backends],
      extents: [...batch.extents, ...this.#waiting.extents],
      services: [...batch.services, ...this.#waiting.services],
      ranges: [...batch.ranges, ...this.#waiting.ranges],
    };
  }

  #free(batch: Retired): void {
    for (const id of batch.backends) {
      if (this.#port.active(id) !== 0n) this.#port.resetActive(id);
      this.#options.backends.release(id);
      this.#heldBackends--;
    }
    for (const { base, count } of batch.extents) this.#options.slots.release(base, count);
    const bound = this.#dropRanges(batch.ranges);
    for (const id of batch.services) {
      if (bound.has(id)) this.#waiting.services.push(id);
      else this.#freeService(id);
    }
  }

  /** Returns the service ids that still have some, and cannot be used again yet. */
  #dropRanges(ranges: readonly LeavingRange[]): ReadonlySet<number> {
    const bound = new Set<number>();
    for (const leaving of ranges) {
      try {
        this.#options.ranges.remove(leaving);
      } catch (error) {
        this.#failure = `source range ${leaving.prefix} not deleted: ${(error as Error).message}`;
        this.#waiting.ranges.push(leaving);
        bound.add(leaving.range.serviceId);
      }
    }
    return bound;
  }

  /** The name goes last: by it a restart finds what is left of a unit. */
  #freeService(id: number): void {
    try {
      this.#port.deleteName(id);
      this.#options.services.release(id);
    } catch (error) {
      this.#failure = `name of service id ${id} not deleted: ${(error as Error).message}`;
      this.#waiting.services.push(id);
    }
  }
}
