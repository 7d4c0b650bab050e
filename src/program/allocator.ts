// SPDX-License-Identifier: Apache-2.0
// Who has which service id, backend id and run of slots. Knows nothing of grace periods: what is released here may be
// handed out by the next call, so only the quarantine (grace.ts) and plans that were never published release.

/** Ids 1 … capacity-1; low ones first, so that the arrays stay dense. */
export class IdAllocator {
  readonly capacity: number;
  readonly #taken: Uint8Array;
  readonly #released: number[] = [];
  #next = 1;
  #used = 0;
  #end = 1;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#taken = new Uint8Array(capacity);
  }

  /** Ids in use, those in quarantine included. */
  get used(): number {
    return this.#used;
  }

  /** Ids that could be in use at once. */
  get limit(): number {
    return this.capacity - 1;
  }

  /** No id from this one on was ever taken. */
  get end(): number {
    return this.#end;
  }

  isTaken(id: number): boolean {
    return this.#taken[id] === 1;
  }

  /** A free id, or 0 if there is none. */
  allocate(): number {
    for (let id = this.#released.pop(); id !== undefined; id = this.#released.pop()) {
      if (this.#taken[id] === 0) return this.#take(id);
    }
    while (this.#next < this.capacity) {
      const id = this.#next++;
      if (this.#taken[id] === 0) return this.#take(id);
    }
    return 0;
  }

  /** Marks an id found in the maps as used; false if it is out of range or taken. */
  reserve(id: number): boolean {
    if (id < 1 || id >= this.capacity || this.#taken[id] !== 0) return false;
    this.#take(id);
    return true;
  }

  release(id: number): void {
    if (this.#taken[id] !== 1) throw new RangeError(`id ${id} is released twice`);
    this.#taken[id] = 0;
    this.#used--;
    this.#released.push(id);
  }

  #take(id: number): number {
    this.#taken[id] = 1;
    this.#used++;
    if (id >= this.#end) this.#end = id + 1;
    return id;
  }
}

/**
 * Sizes that extents are given: four steps between powers of two, so at most a quarter is slack. Growing in place
 * within its size leaves an extent in the same class: the size follows from the count alone, also after a restart.
 */
export function extentSize(count: number): number {
  // Whole numbers throughout: of any other V8 keeps a box, two in every extent.
  const step = 1 << Math.max(0, 29 - Math.clz32(count));
  return (count + step - 1) & -step;
}

/** Index of the bin whose smallest run is the largest class not above `size`. */
function binOf(size: number): number {
  const power = Math.floor(Math.log2(size));
  return power < 2 ? size - 1 : 4 * (power - 1) + Math.floor(size / 2 ** (power - 2)) - 5;
}

const BINS = 128;

export interface SlotRun {
  readonly base: number;
  readonly count: number;
}

/**
 * Runs of slots, good fit: free runs lie in bins by size class, so the first run of the first bin at or above the
 * wanted class fits, and neighbours are joined at once; what was never used comes last. Every call takes a handful of steps,
 * however many runs there are.
 */
export class ExtentAllocator {
  readonly capacity: number;
  readonly #sizeByBase = new Map<number, number>();
  readonly #baseByEnd = new Map<number, number>();
  readonly #bins: ReadonlyArray<Set<number>> = Array.from({ length: BINS }, () => new Set<number>());
  /** All slots from here on are free; they are in no bin, and no free run ends here. */
  #rest = 0;
  #end = 0;
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** No slot from this one on was ever given out. */
  get end(): number {
    return this.#end;
  }

  /** Slots given out, slack included. */
  get used(): number {
    return this.#used;
  }

  /** Base of a run for `count` slots, or -1 if no free run is long enough. */
  allocate(count: number): number {
    const size = extentSize(count);
    for (let bin = this.#sizeByBase.size > 0 ? binOf(size) : BINS; bin < BINS; bin++) {
      for (const base of this.#bins[bin] ?? []) {
        const free = this.#sizeByBase.get(base) ?? 0;
        this.#remove(base, free);
        if (free > size) this.#insert(base + size, free - size);
        this.#used += size;
        return base;
      }
    }
    if (size > this.capacity - this.#rest) return -1;
    const base = this.#rest;
    this.#rest += size;
    this.#end = Math.max(this.#end, this.#rest);
    this.#used += size;
    return base;
  }

  /** Gives back the run that allocate(n) returned for any n of the same class as `count`. */
  release(base: number, count: number): void {
    const size = extentSize(count);
    this.#used -= size;
    let start = base;
    let end = base + size;
    const before = this.#baseByEnd.get(base);
    if (before !== undefined) {
      this.#remove(before, base - before);
      start = before;
    }
    const after = this.#sizeByBase.get(end);
    if (after !== undefined) {
      this.#remove(end, after);
      end += after;
    }
    if (end === this.#rest) this.#rest = start;
    else this.#insert(start, end - start);
  }

  /**
   * Marks runs found in the maps as used, on a fresh allocator. Returns those it refused: out of range, or overlapping
   * one that was accepted.
   */
  reserveAll(runs: readonly SlotRun[]): SlotRun[] {
    const refused: SlotRun[] = [];
    let end = 0;
    for (const run of runs.toSorted((a, b) => a.base - b.base)) {
      const size = extentSize(run.count);
      if (run.base < end || run.base + size > this.capacity) {
        refused.push(run);
        continue;
      }
      if (run.base > end) this.#insert(end, run.base - end);
      end = run.base + size;
      this.#used += size;
    }
    this.#rest = end;
    this.#end = end;
    return refused;
  }

  #insert(base: number, size: number): void {
    this.#sizeByBase.set(base, size);
    this.#baseByEnd.set(base + size, base);
    this.#bins[binOf(size)]?.add(base);
  }

  #remove(base: number, size: number): void {
    this.#sizeByBase.delete(base);
    this.#baseByEnd.delete(base + size);
    this.#bins[binOf(size)]?.delete(base);
  }
}
