// SPDX-License-Identifier: Apache-2.0
// Claims against the plain rule, under random histories: the oldest claimant wins, and whoever is concerned is told.

import { expect, test } from "vitest";
import { type Claimant, Claims } from "../../../src/compile/conflicts.ts";
import { fc } from "../../support/property.ts";

const CLAIMS = ["a", "b", "c"];
const KEYS = ["default/x", "default/y", "other/x"];

const change = fc.record({
  key: fc.constantFrom(...KEYS),
  createdMs: fc.nat(2),
  claims: fc.subarray(CLAIMS),
});

function winnerOf(claim: string, claimants: Iterable<Claimant>): string | undefined {
  const holders = [...claimants].filter(({ claims }) => claims.includes(claim));
  return holders.sort((a, b) => a.createdMs - b.createdMs || (a.key < b.key ? -1 : 1))[0]?.key;
}

test("the winner is the oldest claimant, and everybody whose winner changed is affected", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (history) => {
      const claims = new Claims(100);
      const model = new Map<string, Claimant>();
      for (const step of history) {
        const before = CLAIMS.map((claim) => winnerOf(claim, model.values()));
        model.set(step.key, step);
        const affected = new Set<string>();
        claims.set(step, affected);
        const after = CLAIMS.map((claim) => winnerOf(claim, model.values()));
        expect(CLAIMS.map((claim) => claims.winner(claim))).toEqual(after);
        const told = CLAIMS.filter((_, i) => before[i] !== after[i]).flatMap((claim) =>
          [...model.values()]
            .filter(({ key, claims: theirs }) => key !== step.key && theirs.includes(claim))
            .map(({ key }) => key),
        );
        expect([...affected].sort()).toEqual([...new Set(told)].sort());
      }
    }),
    { numRuns: 2000 },
  );
});

test("who comes when there is no room claims nothing and waits; of those that fit the oldest come first", () => {
  const claims = new Claims(4);
  const affected = new Set<string>();
  const set = (key: string, createdMs: number, list: readonly string[]): void =>
    claims.set({ key, createdMs, claims: list }, affected);
  set("default/a", 1, ["1", "2", "3"]);
  set("default/c", 3, ["1", "4"]);
  set("default/b", 2, ["1", "5"]);
  expect(["1", "4", "5"].map((claim) => claims.winner(claim))).toEqual(["default/a", undefined, undefined]);
  expect(claims.missing("default/c")).toBe(2);
  expect(claims.fitting()).toEqual([]);
  set("default/a", 1, ["1", "2"]);
  expect(claims.fitting()).toEqual(["default/b"]);
  set("default/b", 2, ["1", "5"]);
  expect(claims.winner("5")).toBe("default/b");
  expect(claims.missing("default/b")).toBe(0);
  set("default/a", 1, ["1", "2", "3", "6", "7"]);
  expect(claims.missing("default/a")).toBe(5);
  expect(claims.winner("1")).toBe("default/b");
  expect([...affected]).toEqual(["default/b"]);
  expect(claims.fitting()).toEqual(["default/c"]);
  set("default/c", 3, []);
  expect(claims.missing("default/c")).toBe(0);
  expect(claims.fitting()).toEqual([]);
});
