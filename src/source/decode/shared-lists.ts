// SPDX-License-Identifier: Apache-2.0
// Lists of which a cluster has few different ones, each in thousands of objects: equal ones are one array.

/** Past this many different lists the table starts anew, so that churn cannot grow it without end. */
const MAX_LISTS = 16_384;
/** Longer ones are seldom equal, and their text would be kept besides. */
const MAX_MEMBERS = 8;

export class SharedLists<T> {
  readonly #lists = new Map<string, readonly T[]>();
  /** Of one string, by it: most lists of names are such, and JSON would cost more than all else about them. */
  readonly #singles = new Map<T, readonly T[]>();

  /**
   * The array that stands for all short lists with these members, of which JSON tells all there is; a longer list's copy of
   * its exact length.
   */
  of(list: readonly T[]): readonly T[] {
    if (list.length === 0) return NONE;
    if (list.length > MAX_MEMBERS) return list.slice();
    const [only] = list;
    if (list.length === 1 && typeof only === "string") return shared(this.#singles, only, list);
    return shared(this.#lists, JSON.stringify(list), list);
  }
}

function shared<K, T>(lists: Map<K, readonly T[]>, key: K, list: readonly T[]): readonly T[] {
  const known = lists.get(key);
  if (known !== undefined) return known;
  if (lists.size >= MAX_LISTS) lists.clear();
  const copy = list.slice();
  lists.set(key, copy);
  return copy;
}

const NONE: readonly never[] = [];
