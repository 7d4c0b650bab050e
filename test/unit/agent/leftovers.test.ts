// SPDX-License-Identifier: Apache-2.0

import type { Logger } from "pino";
import { expect, test } from "vitest";
import { Leftovers } from "../../../src/agent/leftovers.ts";
import type { Source } from "../../../src/source/source.ts";

interface Case {
  readonly found: number;
  readonly left: number;
  readonly confirm?: boolean;
  readonly reread?: () => Promise<void>;
}

function leftovers({ found, confirm = true, reread = () => Promise.resolve() }: Case): Leftovers {
  const log = { warn: () => undefined } as unknown as Logger;
  return new Leftovers({ source: { reread } as unknown as Source, log, found, confirm });
}

test("most of what was pinned waits for the second read, once", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const kept = leftovers({ found: 40, left: 30, reread: () => promise });
  let again = 0;
  expect(kept.mayGo(30, () => again++)).toBe(false);
  await Promise.resolve();
  expect(again).toBe(0);
  resolve();
  await promise.then(() => undefined);
  expect(again).toBe(1);
  expect(kept.mayGo(30, () => again++)).toBe(true);
});

test.each<[string, Case]>([
  ["half of it", { found: 40, left: 20 }],
  ["all of very little", { found: 20, left: 20 }],
  ["all, unconfirmed by configuration", { found: 40, left: 40, confirm: false }],
])("%s may go at once", (_, given) => {
  expect(leftovers(given).mayGo(given.left, () => expect.unreachable())).toBe(true);
});

test("a source that cannot be read twice is believed: a folder", () => {
  const log = { warn: () => undefined } as unknown as Logger;
  const source = {} as Source;
  expect(new Leftovers({ source, log, found: 40, confirm: true }).mayGo(40, () => expect.unreachable())).toBe(true);
});
