// SPDX-License-Identifier: Apache-2.0
// Equal short lists are one array, and no list is taken for another.

import { describe, expect, it } from "vitest";
import { SharedLists } from "../../../../src/source/decode/shared-lists.ts";

const ports = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `p${i}`, port: 80 + i }));

describe("shared lists", () => {
  it("equal ones are one array, which is none of those given", () => {
    const lists = new SharedLists<object>();
    const first = ports(2);
    const shared = lists.of(first);
    expect(shared).toEqual(first);
    expect(shared).not.toBe(first);
    expect(lists.of(ports(2))).toBe(shared);
    expect(lists.of([])).toBe(lists.of([]));
  });

  it("others are not: another member, another order, a comma in a name", () => {
    const lists = new SharedLists<string>();
    const all = [["a", "b"], ["b", "a"], ["a"], ["a,b"], ['a","b'], []];
    const shared = all.map((list) => lists.of(list));
    expect(shared).toEqual(all);
    expect(new Set(shared).size).toBe(all.length);
  });

  it("a long one is copied and not remembered", () => {
    const lists = new SharedLists<object>();
    const long = ports(9);
    expect(lists.of(long)).toEqual(long);
    expect(lists.of(long)).not.toBe(lists.of(long));
  });
});
