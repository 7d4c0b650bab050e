// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BpfMap, BpfObject, Btf } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed } from "./failure.ts";
import { Sandbox } from "./sandbox.ts";

const plain = { elements: null, bitOffset: null, bitSize: null };

let sandbox: Sandbox;
let object: BpfObject;
let btf: Btf;
beforeAll(() => {
  sandbox = new Sandbox();
  object = BpfObject.open(objectPath("test"));
  btf = object.btf();
});
afterAll(() => {
  btf.close();
  object.close();
  sandbox[Symbol.dispose]();
});

describe("structs", () => {
  it("have the compiler's offsets and sizes", () => {
    expect(btf.struct("key")).toEqual({
      name: "key",
      size: 20,
      members: [
        { ...plain, name: "addr", offset: 0, size: 16, type: "__u8", elements: 16 },
        { ...plain, name: "port", offset: 16, size: 2, type: "__u16" },
        { ...plain, name: "proto", offset: 18, size: 1, type: "__u8" },
        { ...plain, name: "pad", offset: 19, size: 1, type: "__u8" },
      ],
    });
  });

  it("show nesting, bit-fields, enums, anonymous unions, arrays of arrays and pointers", () => {
    expect(btf.struct("value")).toEqual({
      name: "value",
      size: 56,
      members: [
        { ...plain, name: "word", offset: 0, size: 8, type: "__u64" },
        { ...plain, name: "where", offset: 8, size: 8, type: "point" },
        { ...plain, name: "name", offset: 16, size: 7, type: "char", elements: 7 },
        { ...plain, name: "low", offset: 23, size: 1, type: "__u8", bitOffset: 0, bitSize: 3 },
        { ...plain, name: "high", offset: 23, size: 1, type: "__u8", bitOffset: 3, bitSize: 5 },
        { ...plain, name: "color", offset: 24, size: 4, type: "color" },
        { ...plain, name: "number", offset: 28, size: 4, type: "__u32" },
        { ...plain, name: "octets", offset: 28, size: 4, type: "__u8", elements: 4 },
        { ...plain, name: "grid", offset: 32, size: 12, type: "__s16", elements: 6 },
        { ...plain, name: "next", offset: 48, size: 8, type: "point *" },
      ],
    });
  });

  it("are found through typedefs, or not at all", () => {
    expect(btf.struct("alias_t")).toMatchObject({ size: 4, members: [{ name: "a" }] });
    expect(btf.struct("nope")).toBeNull();
    expect(btf.struct("color")).toBeNull();
    expect(btf.enum("point")).toBeNull();
  });

  it("have enumerators by name", () => {
    expect(btf.enum("color")).toEqual({ COLOR_RED: 1, COLOR_GREEN: 2 });
  });
});

describe("maps", () => {
  it("tell their types before load", () => {
    expect(btf.mapTypes("table")).toEqual({ key: "key", value: "value" });
    expect(btf.mapTypes("points")).toEqual({ key: null, value: "point" });
    expect(btf.mapTypes("aliases")).toEqual({ key: null, value: "alias_t" });
    expect(btf.mapTypes("events")).toEqual({ key: null, value: null });
    expect(btf.mapTypes("nope")).toBeNull();
  });

  it("tell them by a pinned map alone", () => {
    object.load();
    object.map("table").pin(sandbox.pin("table"));
    using map = BpfMap.open(sandbox.pin("table"));
    using own = Btf.ofMap(map);
    expect(own?.mapTypes("table")).toEqual({ key: "key", value: "value" });
    expect(own?.struct("key")).toEqual(btf.struct("key"));
    expect(own?.mapTypes("points")).toEqual({ key: null, value: "point" });
  });

  it("may have none", () => {
    using map = BpfMap.create({ type: "hash", name: "plain", keySize: 4, valueSize: 4, maxEntries: 1 });
    expect(Btf.ofMap(map)).toBeNull();
  });
});

it("knows the kernel's types", () => {
  using kernel = Btf.vmlinux();
  expect(kernel.struct("list_head")).toMatchObject({
    size: 16,
    members: [
      { name: "next", offset: 0, type: "list_head *" },
      { name: "prev", offset: 8 },
    ],
  });
  expect(kernel.enum("bpf_map_type")).toMatchObject({ BPF_MAP_TYPE_HASH: 1, BPF_MAP_TYPE_RINGBUF: 27 });
});

it("throws from every method once closed", () => {
  const copy = object.btf();
  copy.close();
  copy.close();
  expectClosed({
    struct: () => copy.struct("key"),
    enum: () => copy.enum("color"),
    mapTypes: () => copy.mapTypes("table"),
  });
  const map = BpfMap.create({ type: "hash", name: "plain", keySize: 4, valueSize: 4, maxEntries: 1 });
  map.close();
  expectClosed({ ofMap: () => Btf.ofMap(map) });
});
