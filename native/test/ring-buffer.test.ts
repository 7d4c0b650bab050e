// SPDX-License-Identifier: Apache-2.0
import { once } from "node:events";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BpfMap, BpfObject, type BpfProgram, RingBuffer } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { openFiles } from "./sandbox.ts";

let object: BpfObject;
let program: BpfProgram;
let events: BpfMap;
beforeAll(() => {
  object = BpfObject.open(objectPath("test"));
  object.load();
  program = object.program("emit");
  events = object.map("events");
});
afterAll(() => object.close());

/** Makes the program write one record: the packet's length. */
function emit(length: number): void {
  program.testRun({ data: new Uint8Array(length) });
}

function number(data: Uint8Array): number {
  expect(data.length).toBe(4);
  return new DataView(data.buffer).getUint32(0, true);
}

it("calls back on the event loop, in order", async () => {
  const seen: number[] = [];
  using ring = new RingBuffer(events, (data) => seen.push(number(data)));
  for (const length of [60, 70, 80]) emit(length);
  expect(seen).toEqual([]);
  await expect.poll(() => seen).toEqual([60, 70, 80]);
  emit(90);
  await expect.poll(() => seen.length).toBe(4);
  expect(ring.consume()).toBe(0);
});

it("hands out what is there when asked", () => {
  const seen: number[] = [];
  using ring = new RingBuffer(events, (data) => seen.push(number(data)));
  emit(60);
  emit(61);
  expect(ring.consume()).toBe(2);
  expect(seen).toEqual([60, 61]);
});

it("may be closed from inside its callback, by consume and by the loop", async () => {
  const seen: number[] = [];
  const first = new RingBuffer(events, (data) => {
    seen.push(number(data));
    first.close();
    expect(failureOf(() => first.consume()).code).toBe("EBADF");
  });
  emit(60);
  emit(61);
  expect(first.consume()).toBe(1);
  expect(seen).toEqual([60]);

  const second = new RingBuffer(events, (data) => {
    seen.push(number(data));
    second.close();
  });
  await expect.poll(() => seen).toEqual([60, 61]);
});

it("does not start over when its callback consumes", () => {
  const seen: number[] = [];
  using ring = new RingBuffer(events, (data) => {
    seen.push(number(data));
    expect(ring.consume()).toBe(0);
  });
  for (const length of [60, 61, 62]) emit(length);
  expect(ring.consume()).toBe(3);
  expect(seen).toEqual([60, 61, 62]);
});

it("throws from consume what the callback throws, and goes on after it", () => {
  const seen: number[] = [];
  using ring = new RingBuffer(events, (data) => {
    seen.push(number(data));
    if (seen.length === 1) throw new Error("of the callback");
  });
  emit(60);
  emit(61);
  expect(() => ring.consume()).toThrow("of the callback");
  expect(ring.consume()).toBe(1);
  expect(seen).toEqual([60, 61]);
});

it("makes an uncaught exception of it on the event loop", async () => {
  using _ring = new RingBuffer(events, () => {
    throw new Error("of the callback");
  });
  const listeners = process.rawListeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  try {
    const uncaught = once(process, "uncaughtException");
    emit(60);
    const [error] = await uncaught;
    expect(String(error)).toContain("of the callback");
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener as () => void);
  }
});

it("outlives the map's handle, and closes all it opened", () => {
  const before = openFiles();
  const map = object.map("events");
  let seen = 0;
  const ring = new RingBuffer(map, () => seen++);
  map.close();
  emit(60);
  expect(ring.consume()).toBe(1);
  expect(seen).toBe(1);
  ring.unref();
  ring.ref();
  ring.close();
  ring.close();
  expectClosed({ consume: () => ring.consume(), ref: () => ring.ref(), unref: () => ring.unref() });
  expect(openFiles()).toBe(before);
});

it("refuses other maps and other callbacks", () => {
  using hash = BpfMap.create({ type: "hash", name: "hash", keySize: 4, valueSize: 4, maxEntries: 1 });
  const failure = failureOf(() => new RingBuffer(hash, () => {}));
  expect(failure).toMatchObject({ operation: "ring buffer", code: "EINVAL" });
  expect(failure.log).toContain("ring");
  expect(() => new RingBuffer(events, "x" as never)).toThrow(TypeError);
  expect(() => new RingBuffer({} as BpfMap, () => {})).toThrow(TypeError);
});
