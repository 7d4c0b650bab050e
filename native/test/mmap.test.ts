// SPDX-License-Identifier: Apache-2.0
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BpfMap, MapFlags, type MapSpec } from "../index.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { childPath, Sandbox, u32, u64 } from "./sandbox.ts";

const ARRAY: MapSpec = {
  type: "array",
  name: "lt_array",
  keySize: 4,
  valueSize: 12,
  maxEntries: 1000,
  flags: MapFlags.MMAPABLE,
};

let sandbox: Sandbox;
beforeAll(() => {
  sandbox = new Sandbox();
});
afterAll(() => sandbox[Symbol.dispose]());

it("is the map's own memory, elements rounded up to 8 bytes", () => {
  using map = BpfMap.create(ARRAY);
  using view = map.mmap();
  expect(view.elementSize).toBe(16);
  expect(view.buffer.byteLength).toBe(16_000);
  new Uint8Array(view.buffer)[16 * 3 + 11] = 7;
  expect(map.get(u32(3))?.at(11)).toBe(7);
  map.set(u32(999), new Uint8Array(12).fill(1));
  expect(view.load64(16 * 999)).toBe(0x0101010101010101n);
});

it("has atomic words", () => {
  using map = BpfMap.create(ARRAY);
  using view = map.mmap();
  view.store64(0, 2n ** 64n - 1n);
  expect(view.load64(0)).toBe(2n ** 64n - 1n);
  expect(view.add64(0, 1n)).toBe(2n ** 64n - 1n);
  expect(view.add64(0, -1n)).toBe(0n);
  expect(view.load64(0)).toBe(2n ** 64n - 1n);
  expect(view.compareExchange64(0, 5n, 6n)).toBe(2n ** 64n - 1n);
  expect(view.compareExchange64(0, 2n ** 64n - 1n, 6n)).toBe(2n ** 64n - 1n);
  expect(view.load64(0)).toBe(6n);
  view.store32(20, 0xffffffff);
  expect(view.load32(20)).toBe(0xffffffff);
  expect(map.get(u32(1))).toEqual(new Uint8Array([0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]));
});

it("checks offsets and values", () => {
  using map = BpfMap.create(ARRAY);
  using view = map.mmap();
  for (const offset of [4, 1, -8, 16_000, 15_996, 0.5, Number.NaN, Infinity, 2 ** 53]) {
    expect.soft(() => view.load64(offset), `load64 ${offset}`).toThrow(RangeError);
    expect.soft(() => view.store64(offset, 0n), `store64 ${offset}`).toThrow(RangeError);
    expect.soft(() => view.add64(offset, 0n), `add64 ${offset}`).toThrow(RangeError);
    expect.soft(() => view.compareExchange64(offset, 0n, 0n), `compareExchange64 ${offset}`).toThrow(RangeError);
  }
  for (const offset of [2, -4, 16_000, 15_998]) {
    expect.soft(() => view.load32(offset), `load32 ${offset}`).toThrow(RangeError);
    expect.soft(() => view.store32(offset, 0), `store32 ${offset}`).toThrow(RangeError);
  }
  expect(() => view.store64(0, 2n ** 64n)).toThrow(RangeError);
  expect(() => view.store64(0, -1n)).toThrow(RangeError);
  expect(() => view.store32(0, 2 ** 32)).toThrow(RangeError);
  expect(() => view.store64(0, 1 as unknown as bigint)).toThrow(TypeError);
  expect(() => view.load64("0" as unknown as number)).toThrow(TypeError);
  expect(view.load64(0)).toBe(0n);
  expect(view.load64(15_992)).toBe(0n);
});

it("can be read-only", () => {
  using map = BpfMap.create(ARRAY);
  map.set(u32(0), new Uint8Array(12).fill(2));
  using view = map.mmap({ readOnly: true });
  expect(view.load32(0)).toBe(0x02020202);
  expect(failureOf(() => view.store64(0, 1n)).code).toBe("EACCES");
  expect(failureOf(() => view.add64(0, 1n)).code).toBe("EACCES");
  expect(failureOf(() => view.compareExchange64(0, 0n, 1n)).code).toBe("EACCES");
  expect(failureOf(() => view.store32(0, 1)).code).toBe("EACCES");
});

it("refuses maps that cannot be mapped", () => {
  using plain = BpfMap.create({ ...ARRAY, flags: 0 });
  expect(failureOf(() => plain.mmap()).operation).toBe("map mmap");
  using hash = BpfMap.create({ ...ARRAY, type: "hash", flags: 0 });
  expect(failureOf(() => hash.mmap()).code).toMatch(/^E(NOTSUP|OPNOTSUPP)$/);
});

it("outlives the map's handle and ends with its own", () => {
  const map = BpfMap.create(ARRAY);
  const view = map.mmap();
  const words = new BigUint64Array(view.buffer);
  words[0] = 9n;
  map.close();
  expect(view.load64(0)).toBe(9n);
  view.close();
  view.close();
  expect(view.buffer.byteLength).toBe(0);
  expect(words.length).toBe(0);
  expect(words[0]).toBeUndefined();
  expectClosed({
    load64: () => view.load64(0),
    store64: () => view.store64(0, 1n),
    add64: () => view.add64(0, 1n),
    compareExchange64: () => view.compareExchange64(0, 0n, 1n),
    load32: () => view.load32(0),
    store32: () => view.store32(0, 1),
  });
});

it("cannot be moved to another thread", () => {
  using map = BpfMap.create(ARRAY);
  using view = map.mmap();
  expect(() => structuredClone(view.buffer, { transfer: [view.buffer] })).toThrow();
  expect(view.load64(0)).toBe(0n);
});

function additions(workerData: { path: string; rounds: number; threads: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(childPath("add-words"), { workerData });
    worker.once("error", reject);
    worker.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`exit ${code}`))));
  });
}

it("loses no addition and no exchange of two threads", async () => {
  using map = BpfMap.create(ARRAY);
  map.pin(sandbox.pin("words"));
  const args = { path: sandbox.pin("words"), rounds: 500_000, threads: 2 };
  await Promise.all([additions(args), additions(args)]);
  expect(map.get(u32(0))?.subarray(0, 8)).toEqual(u64(1_000_000n));
  expect(map.get(u32(1))?.subarray(0, 8)).toEqual(u64(1_000_000n));
});
