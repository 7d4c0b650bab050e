// SPDX-License-Identifier: Apache-2.0
import { cpus } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BpfMap, BpfObject, MapFlags, type MapSpec, UpdateFlags } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { Sandbox, u32, u64 } from "./sandbox.ts";

const HASH: MapSpec = { type: "hash", name: "lt_hash", keySize: 4, valueSize: 8, maxEntries: 16 };

function filled(spec: Partial<MapSpec>, count: number): BpfMap {
  const map = BpfMap.create({ ...HASH, maxEntries: count, ...spec });
  for (let i = 0; i < count; i++) map.set(u32(i), u64(BigInt(i) * 10n));
  return map;
}

function keyNumber(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}

let sandbox: Sandbox;
beforeAll(() => {
  sandbox = new Sandbox();
});
afterAll(() => sandbox[Symbol.dispose]());

describe("single elements", () => {
  it("describes itself", () => {
    using map = BpfMap.create({ ...HASH, flags: MapFlags.NO_PREALLOC });
    const { id, memlockBytes, ...rest } = map.info;
    expect(id).toBeGreaterThan(0);
    expect(memlockBytes).toBeGreaterThan(0);
    expect(rest).toEqual({
      type: "hash",
      name: "lt_hash",
      keySize: 4,
      valueSize: 8,
      maxEntries: 16,
      flags: 1,
      btfId: 0,
    });
    expect(map.fd).toBeGreaterThan(2);
  });

  it("sets, gets and deletes", () => {
    using map = BpfMap.create(HASH);
    expect(map.get(u32(1))).toBeNull();
    map.set(u32(1), u64(42n));
    expect(map.get(u32(1))).toEqual(u64(42n));
    expect(map.delete(u32(1))).toBe(true);
    expect(map.delete(u32(1))).toBe(false);
  });

  it("honours update flags", () => {
    using map = BpfMap.create(HASH);
    expect(failureOf(() => map.set(u32(1), u64(1n), UpdateFlags.EXIST)).code).toBe("ENOENT");
    map.set(u32(1), u64(1n), UpdateFlags.NOEXIST);
    expect(failureOf(() => map.set(u32(1), u64(1n), UpdateFlags.NOEXIST))).toMatchObject({
      operation: "map set",
      errno: 17,
      code: "EEXIST",
      log: null,
    });
  });

  it("says when it is full", () => {
    using map = filled({}, 4);
    expect(failureOf(() => map.set(u32(9), u64(9n))).code).toBe("E2BIG");
  });

  it("refuses buffers of another size or type before the kernel sees them", () => {
    using map = BpfMap.create(HASH);
    expect(() => map.get(new Uint8Array(3))).toThrow(RangeError);
    expect(() => map.delete(new Uint8Array(5))).toThrow(RangeError);
    expect(() => map.set(u32(1), new Uint8Array(7))).toThrow(RangeError);
    expect(() => map.set(u32(1), u64(1n), -1)).toThrow(RangeError);
    expect(() => map.set(u32(1), u64(1n), 0.5)).toThrow(RangeError);
    expect(() => map.get("key" as unknown as Uint8Array)).toThrow(TypeError);
    expect(() => map.get(new Uint32Array(1) as unknown as Uint8Array)).toThrow(TypeError);
    expect(() => map.get(undefined as unknown as Uint8Array)).toThrow(TypeError);
    expect([...map.keys()]).toEqual([]);
  });

  it("takes views into larger buffers", () => {
    using map = BpfMap.create(HASH);
    const buffer = new Uint8Array([9, 9, 9, 9, 5, 0, 0, 0, 9]);
    map.set(buffer.subarray(4, 8), u64(5n));
    expect([...map.keys()]).toEqual([u32(5)]);
  });

  it("gives a per-CPU value for each possible CPU", () => {
    using map = BpfMap.create({ ...HASH, type: "percpu_array", valueSize: 4 });
    const value = map.get(u32(0));
    expect(value?.length).toBeGreaterThanOrEqual(cpus().length * 8);
    expect(() => map.set(u32(0), u32(1))).toThrow(RangeError);
    const all = new Uint8Array(value?.length ?? 0).fill(1);
    map.set(u32(0), all);
    expect(map.get(u32(0))?.subarray(0, 4)).toEqual(new Uint8Array([1, 1, 1, 1]));
  });

  it("holds maps in maps", () => {
    using inner = BpfMap.create({ ...HASH, type: "array", name: "inner" });
    using outer = BpfMap.create({ ...HASH, type: "array_of_maps", name: "outer", valueSize: 4, innerMap: inner });
    outer.set(u32(0), u32(inner.fd));
    expect(outer.get(u32(0))).toEqual(u32(inner.info.id));
  });

  it("names what cannot be created", () => {
    expect(failureOf(() => BpfMap.create({ ...HASH, keySize: 0 }))).toMatchObject({
      operation: "create map",
      code: "EINVAL",
    });
    expect(() => BpfMap.create({ ...HASH, type: "no such type" })).toThrow(TypeError);
    expect(() => BpfMap.create({ ...HASH, maxEntries: -1 })).toThrow(RangeError);
    // A number stands for a type without a name here.
    using map = BpfMap.create({ ...HASH, type: "1" });
    expect(map.info.type).toBe("hash");
  });
});

describe("iteration", () => {
  for (const type of ["hash", "lru_hash", "array"]) {
    it(`visits every element of a ${type}`, () => {
      // An LRU map evicts before it is full.
      using map = filled({ type, maxEntries: type === "lru_hash" ? 50_000 : 5000 }, 5000);
      expect([...map.keys()].map(keyNumber).sort((a, b) => a - b)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
      for (const [key, value] of map.entries()) expect(value).toEqual(u64(BigInt(keyNumber(key)) * 10n));
    });
  }

  it("visits maps that have no batches", () => {
    const object = BpfObject.open(objectPath("test"));
    object.load();
    using events = object.map("events");
    expect(() => [...events.keys()]).toThrow();
    object.close();
    using map = BpfMap.create({ ...HASH, type: "prog_array", valueSize: 4 });
    expect([...map.entries()]).toEqual([]);
  });

  it("lets the caller delete what it was given", () => {
    using map = filled({}, 3000);
    let seen = 0;
    for (const [key] of map.entries()) {
      expect(map.delete(key)).toBe(true);
      seen++;
    }
    expect(seen).toBe(3000);
    expect([...map.keys()]).toEqual([]);
  });

  it("visits a trie, deletions included", () => {
    using map = BpfMap.create({ type: "lpm_trie", name: "trie", keySize: 8, valueSize: 4, maxEntries: 64, flags: 1 });
    for (let i = 0; i < 40; i++) map.set(new Uint8Array([32, 0, 0, 0, 10, 0, 0, i]), u32(i));
    let seen = 0;
    for (const [key] of map.entries()) {
      map.delete(key);
      seen++;
    }
    expect(seen).toBe(40);
  });

  it("ends with an error when the map is closed meanwhile", () => {
    const map = filled({}, 10_000);
    const chunks = map.lookupBatch(100);
    expect(chunks.next().done).toBe(false);
    map.close();
    expect(failureOf(() => chunks.next()).code).toBe("EBADF");
  });
});

describe("batches", () => {
  it("writes, reads and deletes in one call each", () => {
    using map = BpfMap.create({ ...HASH, maxEntries: 1000 });
    const keys = u32(...Array.from({ length: 1000 }, (_, i) => i));
    const values = u64(...Array.from({ length: 1000 }, (_, i) => BigInt(i)));
    expect(map.updateBatch(keys, values, 1000)).toBe(1000);
    const chunks = [...map.lookupBatch(128)];
    expect(chunks.reduce((sum, chunk) => sum + chunk.count, 0)).toBe(1000);
    for (const { keys: k, values: v, count } of chunks) {
      expect(k.length).toBe(count * 4);
      expect(v.length).toBe(count * 8);
      expect(v.subarray(0, 4)).toEqual(k.subarray(0, 4));
    }
    expect(map.deleteBatch(keys, 1000)).toBe(1000);
    expect([...map.keys()]).toEqual([]);
  });

  it("copes with buckets longer than a chunk", () => {
    using map = filled({ maxEntries: 2000 }, 2000);
    let count = 0;
    for (const chunk of map.lookupBatch(1)) count += chunk.count;
    expect(count).toBe(2000);
  });

  it("says how far a failed one came", () => {
    using map = BpfMap.create({ ...HASH, maxEntries: 4 });
    const six = u32(0, 1, 2, 3, 4, 5);
    expect(failureOf(() => map.updateBatch(six, u64(0n, 0n, 0n, 0n, 0n, 0n), 6))).toMatchObject({
      code: "E2BIG",
      count: 4,
    });
    expect([...map.keys()].length).toBe(4);
    expect(failureOf(() => map.deleteBatch(u32(0, 1, 77, 2), 4))).toMatchObject({ code: "ENOENT", count: 2 });
    expect([...map.keys()].map(keyNumber).sort()).toEqual([2, 3]);
  });

  it("counts nothing when the kernel refuses the whole call", () => {
    using map = BpfMap.create(HASH);
    expect(failureOf(() => map.updateBatch(u32(1, 2), u64(1n, 2n), 2, 1 << 20))).toMatchObject({
      code: "EINVAL",
      count: 0,
    });
    expect([...map.keys()]).toEqual([]);
  });

  it("does nothing for none, and checks lengths", () => {
    using map = BpfMap.create(HASH);
    expect(map.updateBatch(new Uint8Array(), new Uint8Array(), 0)).toBe(0);
    expect(map.deleteBatch(new Uint8Array(), 0)).toBe(0);
    expect(() => map.updateBatch(u32(1), u64(1n), 2)).toThrow(RangeError);
    expect(() => map.updateBatch(u32(1, 2), u64(1n), 2)).toThrow(RangeError);
    expect(() => map.deleteBatch(u32(1), 2 ** 32)).toThrow(RangeError);
  });

  it("moves per-CPU values", () => {
    using map = BpfMap.create({ ...HASH, type: "percpu_hash" });
    const bytes = new Uint8Array((cpus().length + 64) * 8);
    expect(() => map.updateBatch(u32(1), bytes, 1)).toThrow(RangeError);
    const size = [...BpfMap.create({ ...HASH, type: "percpu_array", maxEntries: 1 }).entries()][0]?.[1].length ?? 0;
    map.updateBatch(u32(1), new Uint8Array(size).fill(3), 1);
    expect([...map.entries()]).toEqual([[u32(1), new Uint8Array(size).fill(3)]]);
  });
});

describe("pins and ids", () => {
  it("is the same map through its pin and its id", () => {
    using map = BpfMap.create(HASH);
    map.set(u32(1), u64(1n));
    map.pin(sandbox.pin("map"));
    using pinned = BpfMap.open(sandbox.pin("map"));
    using byId = BpfMap.openById(map.info.id);
    expect(pinned.info).toEqual(map.info);
    expect(byId.get(u32(1))).toEqual(u64(1n));
    expect(failureOf(() => map.pin(sandbox.pin("map"))).code).toBe("EEXIST");
  });

  it("outlives its handle while it is pinned", () => {
    const map = BpfMap.create(HASH);
    map.set(u32(7), u64(7n));
    map.pin(sandbox.pin("kept"));
    map.close();
    using again = BpfMap.open(sandbox.pin("kept"));
    expect(again.get(u32(7))).toEqual(u64(7n));
  });

  it("refuses what is no map", () => {
    using object = BpfObject.open(objectPath("test"));
    object.load();
    using program = object.program("pass");
    program.pin(sandbox.pin("program"));
    const failure = failureOf(() => BpfMap.open(sandbox.pin("program")));
    expect(failure).toMatchObject({ operation: "open map", code: "EINVAL" });
    expect(failure.log).toContain("bpf-prog");
    expect(failureOf(() => BpfMap.open(sandbox.pin("nothing"))).code).toBe("ENOENT");
    expect(failureOf(() => BpfMap.openById(2 ** 31 - 1)).code).toBe("ENOENT");
    expect(() => BpfMap.open("a\0b")).toThrow(TypeError);
  });
});

it("throws from every method once closed", () => {
  const map = BpfMap.create(HASH);
  map.close();
  map.close();
  map[Symbol.dispose]();
  expectClosed({
    info: () => map.info,
    fd: () => map.fd,
    get: () => map.get(u32(1)),
    set: () => map.set(u32(1), u64(1n)),
    delete: () => map.delete(u32(1)),
    keys: () => [...map.keys()],
    entries: () => [...map.entries()],
    lookupBatch: () => [...map.lookupBatch()],
    updateBatch: () => map.updateBatch(u32(1), u64(1n), 1),
    deleteBatch: () => map.deleteBatch(u32(1), 1),
    mmap: () => map.mmap(),
    pin: () => map.pin(sandbox.pin("closed")),
  });
});

it("cannot be made from anything but its own factories", () => {
  expect(() => new BpfMap({} as never).get(u32(1))).toThrow(TypeError);
});
