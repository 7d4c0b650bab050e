// SPDX-License-Identifier: Apache-2.0
// The constants are those of bpf/types.h; a struct that differs is refused by name.

import { readFileSync } from "node:fs";
import type { Btf, BtfMember, BtfStruct } from "libbpf-ts";
import { describe, expect, test } from "vitest";
import { ENDPOINT } from "../../../src/compile/unit.ts";
import { extentWord, parseExtentWord } from "../../../src/datapath/extent.ts";
import * as layout from "../../../src/datapath/layout.ts";

const header = readFileSync("bpf/types.h", "utf8");

/** Enumerators of an enum in the header, without its prefix. */
function enumOf(name: string, prefix: string): Record<string, number> {
  const body = new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(header)?.[1] ?? "";
  let next = 0;
  const found = [...body.replace(/\/\*.*?\*\//gs, "").matchAll(/(\w+)\s*(?:=\s*([^,]+))?,/g)].map(
    ([, member = "", value]) => {
      const [bit, shift] = (value ?? "").split("<<").map(Number);
      const number = value === undefined ? next : shift === undefined ? Number(value) : (bit ?? 0) << shift;
      next = number + 1;
      return [member.slice(prefix.length), number];
    },
  );
  return Object.fromEntries(found);
}

describe("constants", () => {
  test.each([
    ["frontend_flags", "FRONTEND_", layout.FRONTEND],
    ["algorithm", "ALGORITHM_", layout.ALGORITHM],
    ["backend_flags", "BACKEND_", layout.BACKEND],
    ["node_addr_flags", "NODE_ADDR_", layout.NODE_ADDR],
    ["socket_flags", "SOCKET_", layout.SOCKET],
    ["affinity_client", "AFFINITY_", layout.AFFINITY],
  ])("%s", (name, prefix, values) => {
    expect(values).toEqual(enumOf(name, prefix));
  });

  test("stat_reason", () => {
    const { MAX, ...reasons } = enumOf("stat_reason", "STAT_");
    expect(layout.STAT_REASONS).toEqual(Object.keys(reasons));
    expect(layout.STAT_REASONS).toHaveLength(MAX ?? 0);
  });

  test("an endpoint's flags are a backend's", () => {
    expect(ENDPOINT).toEqual(layout.BACKEND);
  });
});

describe("extent word", () => {
  test("base:32 | count:24 | algorithm:8", () => {
    expect(extentWord(0x12345678, 0xabcdef, 2)).toBe(0x02abcdef12345678n);
    expect(parseExtentWord(0xffabcdeff2345678n)).toEqual({ base: 0xf2345678, count: 0xabcdef, algorithm: 0xff });
    expect(extentWord(0, 0, layout.ALGORITHM.REJECT)).toBe(0n);
  });
});

function btfOf(structs: Record<string, BtfStruct>, enums: Record<string, Record<string, number>> = {}): Btf {
  return {
    struct: (name: string) => structs[name] ?? null,
    enum: (name: string) => enums[name] ?? null,
  } as unknown as Btf;
}

function member(name: string, offset: number, size: number): BtfMember {
  return { name, offset, size, type: "u8", elements: null, bitOffset: offset * 8, bitSize: size * 8 };
}

describe("structLayout", () => {
  const frontend = { name: "frontend", size: 16, members: [member("flags", 0, 4), member("service_id", 12, 4)] };

  test("takes offsets from BTF, wherever the members moved", () => {
    const found = layout.structLayout(btfOf({ frontend }), "frontend");
    expect(found).toMatchObject({ size: 16, at: { service_id: 12, flags: 0 } });
  });

  test("names what differs", () => {
    const broken = { ...frontend, members: [member("flags", 0, 8)] };
    expect(() => layout.structLayout(btfOf({ frontend: broken }), "frontend")).toThrow(
      "struct frontend has no member service_id; frontend.flags has 8 bytes, not 4",
    );
    expect(() => layout.structLayout(btfOf({}), "frontend")).toThrow("struct frontend is not in the BTF");
  });

  test("an enum of another meaning is refused, one that is not there is not asked for", () => {
    expect(() => layout.checkEnums(btfOf({}))).not.toThrow();
    const other = {
      algorithm: { ALGORITHM_REJECT: 1, ALGORITHM_DROP: 1, ALGORITHM_RANDOM: 2, ALGORITHM_LEAST_CONN: 3 },
    };
    expect(() => layout.checkEnums(btfOf({}, other))).toThrow(
      "ALGORITHM_REJECT is 1, not 0; ALGORITHM_MAGLEV is missing, not 4",
    );
  });
});
