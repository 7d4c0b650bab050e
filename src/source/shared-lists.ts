// SPDX-License-Identifier: Apache-2.0
// Lists of which a cluster has few different ones, each in thousands of objects: equal ones are one array.

/** Past this many different lists the table starts anew, so that churn cannot grow it without end. */
const MAX_LISTS = 16_384;
/** Longer ones are seldom equal, and their text would be kept besides. */
const MAX_MEMBERS = 8;

export class SharedLists<T> {
  readonly #lists = new Map<string, readonly T[]>();

  /**
   * The array that stands for all short lists with these members, of which JSON tells all there is; a longer list's copy of
   * its exact length.
   */
  of(list: readonly T[]): readonly T[] {
    if (list.length === 0) return NONE;
    if (list.length > MAX_MEMBERS) return list.slice();
    const key = JSON.stringify(list);
    const known = this.#lists.get(key);
    if (known !== undefined) return known;
    if (this.#lists.size >= MAX_LISTS) this.#lists.clear();
    const shared = list.slice();
    this.#lists.set(key, shared);
    return shared;
  }
}

const NONE: readonly never[] = [];
