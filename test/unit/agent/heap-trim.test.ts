// SPDX-License-Identifier: Apache-2.0
// In silence the heap gives back what it does not need, by itself; while things change it is left as it is.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

interface Sizes {
  readonly before: number;
  readonly after: number;
}

/** V8 rests for eight seconds before it tidies up; here for one, mostly. */
async function sizes(silentMs: number, restMs: number): Promise<Sizes> {
  const flags = ["--gc-memory-reducer-start-delay-ms=1000", "--max-semi-space-size=2"];
  const child = join(import.meta.dirname, "children", "heap.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, child, String(silentMs), String(restMs)]);
  return JSON.parse(stdout) as Sizes;
}

test("in silence the heap shrinks, while things change it does not", async () => {
  const [silent, busy] = await Promise.all([sizes(10_000, 200_000), sizes(1_000, 12_000)]);
  expect(silent.after).toBeLessThan(silent.before * 0.6);
  expect(busy.after).toBeGreaterThan(busy.before * 0.9);
});

test("when the heap has shrunk, the C library gives back what it holds free", async () => {
  const child = join(import.meta.dirname, "children", "malloc.ts");
  const shrunk = async (silentMs: number): Promise<number> => {
    const { stdout } = await promisify(execFile)(process.execPath, [child, String(silentMs)]);
    return (JSON.parse(stdout) as { shrunk: number }).shrunk;
  };
  expect(await shrunk(10_000)).toBeLessThan(2 << 20);
  expect(await shrunk(30_000)).toBeGreaterThan(20 << 20);
});
