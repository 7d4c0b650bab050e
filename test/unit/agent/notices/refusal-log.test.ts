// SPDX-License-Identifier: Apache-2.0
// A refusal is told once for each reason, until nothing is pending.

import { expect, test } from "vitest";
import { RefusalLog } from "../../../../src/agent/notices/refusal-log.ts";
import type { PendingUnit } from "../../../../src/program/status.ts";

const refused = (key: string, reason: string): PendingUnit => {
  return { key, name: key, action: "program", reason, capacity: true, sinceMs: 0 };
};
const keys = (units: readonly PendingUnit[]): string[] => units.map(({ key }) => key);

test("once for each reason, until nothing is pending", () => {
  const log = new RefusalLog();
  expect(keys(log.news([refused("a", "full"), refused("b", "full")]))).toEqual(["a", "b"]);
  expect(keys(log.news([refused("a", "full"), refused("b", "EIO"), refused("c", "full")]))).toEqual(["b", "c"]);
  log.clear();
  expect(keys(log.news([refused("a", "full")]))).toEqual(["a"]);
});
