// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BpfMap, BpfObject, BpfProgram, readIterator } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { Sandbox, u32 } from "./sandbox.ts";

const SKB_BYTES = 192; // sizeof(struct __sk_buff)
const SKB_MARK = 8;

let sandbox: Sandbox;
let object: BpfObject;
beforeAll(() => {
  sandbox = new Sandbox();
  object = BpfObject.open(objectPath("test"));
  object.load();
});
afterAll(() => {
  object.close();
  sandbox[Symbol.dispose]();
});

it("describes itself", () => {
  using program = object.program("constants");
  using bss = object.map("test.bss");
  const info = program.info;
  expect(info).toMatchObject({ type: "sched_cls", name: "constants", createdByUid: 0 });
  expect(info.id).toBeGreaterThan(0);
  expect(info.tag).toMatch(/^[0-9a-f]{16}$/);
  expect(info.verifiedInstructions).toBeGreaterThan(5);
  expect(info.xlatedBytes % 8).toBe(0);
  expect(info.jitedBytes).toBeGreaterThan(0);
  expect(info.mapIds).toContain(bss.info.id);
  expect(info.loadTimeNs).toBeGreaterThan(0n);
});

describe("test runs", () => {
  it("return what the program returns, and the packet it leaves", () => {
    using program = object.program("emit");
    const data = new Uint8Array(100).fill(9);
    const run = program.testRun({ data });
    expect(run.returnValue).toBe(0);
    expect(run.data?.length).toBe(104);
    expect(run.data?.subarray(0, 100)).toEqual(data);
    expect(run.ctx).toBeNull();
  });

  it("hand a context in and out", () => {
    using program = object.program("emit");
    const ctx = new Uint8Array(SKB_BYTES);
    ctx[SKB_MARK] = 41;
    const run = program.testRun({ data: new Uint8Array(64), ctx });
    expect(run.ctx?.at(SKB_MARK)).toBe(42);
  });

  it("repeat", () => {
    using program = object.program("constants");
    using bss = object.map("test.bss");
    const calls = () => new DataView(bss.get(u32(0))?.buffer ?? new ArrayBuffer(8)).getBigUint64(0, true);
    const before = calls();
    // Of one of them; a clock may be too coarse for one alone.
    expect(program.testRun({ data: new Uint8Array(64), repeat: 1000 }).durationNs).toBeGreaterThan(0);
    expect(calls() - before).toBe(1000n);
  });

  it("fail with an errno", () => {
    using program = object.program("emit");
    expect(failureOf(() => program.testRun({ data: new Uint8Array(1) }))).toMatchObject({
      operation: "test run",
      code: "EINVAL",
    });
    expect(failureOf(() => program.testRun({ data: new Uint8Array(64), dataOutBytes: 4 })).code).toBe("ENOSPC");
    using connect = object.program("allow");
    expect(failureOf(() => connect.testRun({ data: new Uint8Array(64) })).code).toBe("ENOTSUPP");
    expect(() => program.testRun({ data: "x" as unknown as Uint8Array })).toThrow(TypeError);
    expect(() => program.testRun({ data: new Uint8Array(64), repeat: -1 })).toThrow(RangeError);
  });
});

it("is the same program through its pin and its id", () => {
  using program = object.program("pass");
  program.pin(sandbox.pin("pass"));
  using pinned = BpfProgram.open(sandbox.pin("pass"));
  using byId = BpfProgram.openById(program.info.id);
  expect(pinned.info.id).toBe(program.info.id);
  expect(byId.info.tag).toBe(program.info.tag);
  using map = object.map("table");
  map.pin(sandbox.pin("table"));
  expect(failureOf(() => BpfProgram.open(sandbox.pin("table")))).toMatchObject({
    operation: "open program",
    code: "EINVAL",
  });
  expect(failureOf(() => BpfProgram.openById(2 ** 31 - 1)).code).toBe("ENOENT");
});

it("reads iterators to their end", () => {
  using iterator = BpfObject.open(objectPath("iterator"));
  iterator.load();
  using program = iterator.program("keys");
  using map = BpfMap.create({ type: "hash", name: "iterated", keySize: 4, valueSize: 4, maxEntries: 50_000 });
  for (let i = 0; i < 50_000; i++) map.set(u32(i), u32(i));
  const bytes = readIterator(program, { map });
  expect(bytes.length).toBe(200_000);
  expect(new Set(new Uint32Array(bytes.buffer)).size).toBe(50_000);
  expect(failureOf(() => readIterator(program)).operation).toBe("read iterator");
  map.close();
  expectClosed({ readIterator: () => readIterator(program, { map }) });
});

it("throws from every method once closed", () => {
  const program = object.program("pass");
  program.close();
  program.close();
  expectClosed({
    info: () => program.info,
    fd: () => program.fd,
    testRun: () => program.testRun({ data: new Uint8Array(64) }),
    pin: () => program.pin(sandbox.pin("closed")),
    attachCgroup: () => program.attachCgroup(sandbox.dir, "cgroup_inet4_connect"),
    attachTcx: () => program.attachTcx(1, "ingress"),
    attachXdp: () => program.attachXdp(1),
    readIterator: () => readIterator(program),
  });
});
