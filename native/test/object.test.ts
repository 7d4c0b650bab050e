// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BpfMap, BpfObject } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { u32 } from "./sandbox.ts";

const PACKET = new Uint8Array(64);

let object: BpfObject;
beforeEach(() => {
  object = BpfObject.open(objectPath("test"));
});
afterEach(() => object.close());

function result(): number {
  using program = object.program("constants");
  return program.testRun({ data: PACKET }).returnValue;
}

describe("before load", () => {
  it("lists maps and programs", () => {
    expect(object.maps.find((map) => map.name === "points")).toEqual({
      name: "points",
      type: "array",
      keySize: 4,
      valueSize: 8,
      maxEntries: 16,
      flags: 1024,
    });
    expect(object.maps.map((map) => map.name)).toContain("test.rodata");
    expect(object.programs).toEqual([
      { name: "constants", section: "tc", type: "sched_cls", expectedAttachType: "" },
      { name: "emit", section: "tc", type: "sched_cls", expectedAttachType: "" },
      { name: "newer", section: "tc", type: "sched_cls", expectedAttachType: "" },
      { name: "pass", section: "xdp", type: "xdp", expectedAttachType: "xdp" },
      {
        name: "allow",
        section: "cgroup/connect4",
        type: "cgroup_sock_addr",
        expectedAttachType: "cgroup_inet4_connect",
      },
      {
        name: "refuse",
        section: "cgroup/connect4",
        type: "cgroup_sock_addr",
        expectedAttachType: "cgroup_inet4_connect",
      },
    ]);
  });

  it("has no descriptors yet", () => {
    expect(failureOf(() => object.map("table")).code).toBe("EBADF");
    expect(failureOf(() => object.program("pass")).code).toBe("EBADF");
  });

  it("says what is not there", () => {
    expect(failureOf(() => object.map("nope"))).toMatchObject({ operation: "object map", code: "ENOENT" });
    expect(failureOf(() => object.program("nope")).log).toContain("nope");
    expect(failureOf(() => object.setMaxEntries("nope", 1)).code).toBe("ENOENT");
    expect(failureOf(() => object.setAutoload("nope", false)).code).toBe("ENOENT");
    expect(failureOf(() => object.setRodata("nope", 1)).code).toBe("ENOENT");
    expect(failureOf(() => object.setRodata("calls", 1)).code).toBe("ENOENT"); // a variable, but no constant
  });

  it("sets sizes and leaves programs out", () => {
    object.setMaxEntries("table", 128);
    object.setAutoload("emit", false);
    object.load();
    using table = object.map("table");
    expect(table.info.maxEntries).toBe(128);
    expect(failureOf(() => object.program("emit")).code).toBe("EBADF");
    expect(failureOf(() => object.setMaxEntries("table", 1)).code).toBe("EBUSY");
  });
});

describe("a helper that the kernel does not have", () => {
  it("is refused by its number, or becomes its result", () => {
    object.setAutoload("newer", true);
    expect(failureOf(() => object.load()).log).toMatch(/func.*9999/);
    using stubbed = BpfObject.open(objectPath("test"));
    stubbed.setAutoload("newer", true);
    expect(() => stubbed.stubHelper(2 ** 31, 0)).toThrow(RangeError);
    expect(stubbed.stubHelper(9999, 21)).toBe(2);
    expect(stubbed.stubHelper(9999, 21)).toBe(0);
    stubbed.load();
    using program = stubbed.program("newer");
    expect(program.testRun({ data: PACKET }).returnValue).toBe(42);
    expect(failureOf(() => stubbed.stubHelper(1, 0)).code).toBe("EBUSY");
  });
});

describe("constants", () => {
  it("have the values of the source unless they are set", () => {
    object.load();
    expect(result()).toBe(7);
  });

  it("take numbers, bigints, booleans and bytes", () => {
    object.setRodata("enabled", true);
    object.setRodata("limit", 100);
    object.setRodata("offset", -2);
    object.setRodata("wide", 1000n);
    object.setRodata("paint", 2);
    object.setRodata("origin", u32(10_000, 20_000));
    object.load();
    expect(result()).toBe(31_100);
  });

  it("take the whole range of their type and nothing beyond", () => {
    const ranges: [string, number | bigint, number | bigint][] = [
      ["limit", 0, 2 ** 32 - 1],
      ["offset", -128, 127],
      ["wide", 0n, 2n ** 64n - 1n],
      ["enabled", 0, 1],
    ];
    for (const [name, low, high] of ranges) {
      object.setRodata(name, low);
      object.setRodata(name, high);
      expect.soft(() => object.setRodata(name, BigInt(low) - 1n), `${name} below`).toThrow(RangeError);
      expect.soft(() => object.setRodata(name, BigInt(high) + 1n), `${name} above`).toThrow(RangeError);
    }
    expect(() => object.setRodata("limit", 1.5)).toThrow(RangeError);
    expect(() => object.setRodata("limit", Number.NaN)).toThrow(RangeError);
  });

  it("want bytes of their own size, and bytes where they are no integer", () => {
    expect(() => object.setRodata("origin", new Uint8Array(7))).toThrow(RangeError);
    expect(() => object.setRodata("limit", new Uint8Array(8))).toThrow(RangeError);
    expect(() => object.setRodata("origin", 1)).toThrow(TypeError);
    expect(() => object.setRodata("limit", "1" as unknown as number)).toThrow(TypeError);
  });

  it("are fixed once loaded", () => {
    object.load();
    expect(failureOf(() => object.setRodata("limit", 1)).code).toBe("EBUSY");
  });
});

describe("load", () => {
  it("throws the verifier's whole log", () => {
    using broken = BpfObject.open(objectPath("broken"));
    const failure = failureOf(() => broken.load());
    expect(failure).toMatchObject({ operation: "load", errno: 13, code: "EACCES" });
    const log = failure.log ?? "";
    // From the first instruction to the verdict, and longer than libbpf's first buffer.
    expect(log).toMatch(/^0: .*ctx\(\)/m);
    expect(log).toContain("BEGIN PROG LOAD LOG");
    expect(log).toMatch(/processed \d+ insns/);
    expect(log.length).toBeGreaterThan(100_000);
    expect(failure.message).toContain("outside of the packet");
    expect(failureOf(() => broken.load()).code).toBe("EBUSY");
  });

  it("keeps the log of a success if asked to", () => {
    expect(object.log).toBeNull();
    object.load({ logLevel: 1 });
    expect(object.log).toMatch(/processed \d+ insns/);
  });

  it("says nothing on stderr and opens nothing that is no object", () => {
    expect(failureOf(() => BpfObject.open("/nonexistent.o"))).toMatchObject({
      operation: "open object",
      code: "ENOENT",
    });
    const failure = failureOf(() => BpfObject.open("/etc/passwd"));
    expect(failure.log).toContain("/etc/passwd");
    expect(() => BpfObject.open(5 as unknown as string)).toThrow(TypeError);
  });
});

describe("reuse", () => {
  it("uses a map that exists", () => {
    using points = BpfMap.create({
      type: "array",
      name: "points",
      keySize: 4,
      valueSize: 8,
      maxEntries: 99,
      flags: 1024,
    });
    object.reuseMap("points", points);
    object.load();
    using own = object.map("points");
    expect(own.info.id).toBe(points.info.id);
    expect(own.info.maxEntries).toBe(99);
  });

  it("refuses one of another shape, and a closed one", () => {
    const wrong = BpfMap.create({
      type: "array",
      name: "points",
      keySize: 4,
      valueSize: 16,
      maxEntries: 16,
      flags: 1024,
    });
    expect(failureOf(() => object.reuseMap("points", wrong))).toMatchObject({ operation: "reuse map", code: "EINVAL" });
    wrong.close();
    expect(failureOf(() => object.reuseMap("points", wrong)).code).toBe("EBADF");
    expect(() => object.reuseMap("points", {} as BpfMap)).toThrow(TypeError);
  });
});

it("leaves its handles open when it closes", () => {
  object.load();
  using table = object.map("table");
  using program = object.program("constants");
  const btf = object.btf();
  object.close();
  object.close();
  expect([...table.keys()]).toEqual([]);
  expect(program.testRun({ data: PACKET }).returnValue).toBe(7);
  expect(btf.struct("point")?.size).toBe(8);
  expectClosed({
    maps: () => object.maps,
    programs: () => object.programs,
    setRodata: () => object.setRodata("limit", 1),
    setMaxEntries: () => object.setMaxEntries("table", 1),
    reuseMap: () => object.reuseMap("table", table),
    setAutoload: () => object.setAutoload("pass", false),
    stubHelper: () => object.stubHelper(1, 0),
    load: () => object.load(),
    map: () => object.map("table"),
    program: () => object.program("pass"),
    btf: () => object.btf(),
  });
});
