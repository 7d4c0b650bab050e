// SPDX-License-Identifier: Apache-2.0
// Lists that nearly always have one member, of which there are tens of thousands: the one member stands for itself and
// costs no array.

/** None, one member, or a list. A member is never an array itself. */
export type Few<T> = T | readonly T[] | undefined;

/** The members. */
export function listOf<T>(few: Few<T>): readonly T[] {
  if (few === undefined) return NONE;
  return isList(few) ? few : [few];
}

/** The list as it is to be kept: a longer one is copied to its exact length. */
export function fewOf<T>(list: readonly T[]): Few<T> {
  return list.length > 1 ? list.slice() : list[0];
}

const NONE: readonly never[] = [];
const isList = <T>(few: T | readonly T[]): few is readonly T[] => Array.isArray(few);
