// SPDX-License-Identifier: Apache-2.0

import { afterEach, expect, test, vi } from "vitest";
import { HeapTrim } from "../../../src/agent/heap-trim.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

test("the heap is collected at the first tick, and then not again for some minutes", () => {
  const collect = vi.fn();
  vi.stubGlobal("gc", collect);
  const trim = new HeapTrim();
  trim.tick(0);
  expect(collect).toHaveBeenCalledExactlyOnceWith({ type: "major", execution: "sync", flavor: "last-resort" });
  trim.tick(60_000);
  expect(collect).toHaveBeenCalledTimes(1);
});

test("a process that may not collect goes on without", () => {
  vi.stubGlobal("gc", undefined);
  expect(() => new HeapTrim().tick(0)).not.toThrow();
});
