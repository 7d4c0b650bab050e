// SPDX-License-Identifier: Apache-2.0
// What one audit found and mended, by kind: counts, some examples in words, and what could not be mended.

/** Kinds of damage in the maps; each is one row, one slot or one word. */
export const MAP_DAMAGE = [
  "address-bits",
  "name",
  "backend",
  "slot",
  "service",
  "frontend",
  "source-range",
  "node-address",
] as const;
export type MapDamage = (typeof MAP_DAMAGE)[number];

/** So many are told in words. */
const EXAMPLES = 5;

export class Findings<Kind extends string = MapDamage> {
  readonly #repaired = new Map<Kind, number>();
  readonly #examples: string[] = [];
  #failed = 0;
  #failure: string | null = null;

  get repaired(): ReadonlyMap<Kind, number> {
    return this.#repaired;
  }

  get total(): number {
    return [...this.#repaired.values()].reduce((sum, count) => sum + count, 0);
  }

  get examples(): readonly string[] {
    return this.#examples;
  }

  /** Damage that is still there. */
  get failed(): number {
    return this.#failed;
  }

  /** Why the first of it is; null if there is none. */
  get failure(): string | null {
    return this.#failure;
  }

  /** Counts `count` damages as mended by `mend`; if it throws, as still there. */
  mend(kind: Kind, what: string, mend: () => void, count = 1): void {
    try {
      mend();
    } catch (error) {
      this.#failed += count;
      this.#failure ??= `${kind} ${what}: ${(error as Error).message}`;
      return;
    }
    this.#repaired.set(kind, (this.#repaired.get(kind) ?? 0) + count);
    if (this.#examples.length < EXAMPLES) this.#examples.push(`${kind} ${what}`);
  }
}
