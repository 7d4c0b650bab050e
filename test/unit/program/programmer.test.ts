// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { Programmer } from "../../../src/program/programmer.ts";
import { emptyMemory, MemoryMaps } from "../../support/memory-maps.ts";
import { makeUnit } from "../../support/units.ts";

const options = { bindGuard: () => false };

test("a new Service is added, an equal one written nothing for", async () => {
  const memory = emptyMemory();
  const port = new MemoryMaps(memory);
  const programmer = await Programmer.start(port, options);
  const unit = makeUnit({ name: "a/b:c", clusterIp: "10.96.0.1", endpoints: ["10.1.0.1:80", "10.1.0.2:80"] });
  const report = programmer.apply({ upserted: [unit], removed: [] });
  expect(report).toMatchObject({ added: 1, refused: [], writes: 1 + 2 + 1 + 1 + 2 });
  expect(programmer.apply({ upserted: [unit], removed: [] })).toMatchObject({ unchanged: 1, writes: 0 });
  const again = new MemoryMaps(memory);
  const second = await Programmer.start(again, options);
  second.allowDeletes();
  expect(second.apply({ upserted: [unit], removed: [] })).toMatchObject({ unchanged: 1, writes: 0 });
  expect(again.writes).toBe(0);
  expect(second.apply({ upserted: [], removed: [unit.key] })).toMatchObject({ removed: 1 });
  await second.settled();
  expect(memory.frontends.size).toBe(0);
  expect(memory.names.size).toBe(0);
  expect(second.status().fill).toMatchObject({ services: { used: 0 }, backends: { used: 0 }, slots: { used: 0 } });
});
