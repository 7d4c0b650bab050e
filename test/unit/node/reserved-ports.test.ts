// SPDX-License-Identifier: Apache-2.0
// Reserved ports: ours are merged in and taken out again, others' stay, whoever dies when.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatPorts, parsePorts, ReservedPorts } from "../../../src/node/reserved-ports.ts";
import { fc } from "../../support/property.ts";

let dir: string;
let state: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "portolan-ports-"));
  state = join(dir, "run", "reserved-ports.json");
  sysctl("");
  writeFileSync(join(dir, "ip_local_port_range"), "32768\t60999\n");
});
afterEach(() => rmSync(dir, { recursive: true }));

function sysctl(list?: string): string {
  const file = join(dir, "ip_local_reserved_ports");
  if (list !== undefined) writeFileSync(file, `${list}\n`);
  return readFileSync(file, "utf8").trim();
}

const open = (): ReservedPorts => new ReservedPorts(state, dir);

test("lists", () => {
  expect([...parsePorts("8080,30000-30002\n")]).toEqual([8080, 30000, 30001, 30002]);
  expect(formatPorts([30002, 30000, 8080, 30001, 8080])).toBe("8080,30000-30002");
  expect(parsePorts("\n").size).toBe(0);
  for (const bad of ["x", "1-", "2-1", "65536", "1;2"]) expect(() => parsePorts(bad)).toThrow(/is no port or range/);
});

test("any set of ports survives the way to text and back", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 65_535 })), (ports) => {
      expect([...parsePorts(formatPorts(ports))]).toEqual(ports.toSorted((a, b) => a - b));
    }),
  );
});

test("others' ports stay, whatever we add and take away", () => {
  sysctl("9000-9002,31000");
  const ports = open();
  ports.update([31000, 31001, 31002]);
  expect(sysctl()).toBe("9000-9002,31000-31002");
  expect(ports.ours).toEqual([31001, 31002]);
  ports.update([31002]);
  expect(sysctl()).toBe("9000-9002,31000,31002");
  // Somebody reserves one meanwhile.
  sysctl("9000-9002,31000,31002,40000");
  ports.update([31003]);
  expect(sysctl()).toBe("9000-9002,31000,31003,40000");
  ports.release();
  expect(sysctl()).toBe("9000-9002,31000,40000");
  expect(existsSync(state)).toBe(false);
});

test("a successor knows which are ours", () => {
  sysctl("9000");
  open().update([31000, 31001]);
  const next = open();
  expect(next.ours).toEqual([31000, 31001]);
  next.update([31001]);
  expect(sysctl()).toBe("9000,31001");
});

test("after a death between the two writes nothing of ours is left for good", () => {
  open().update([31000]);
  // The state was written, the sysctl was not; and the other way round is excluded by the order.
  writeFileSync(state, JSON.stringify({ ports: "31000,31005" }));
  const next = open();
  next.update([31005]);
  expect(sysctl()).toBe("31005");
  next.release();
  expect(sysctl()).toBe("");
});

test("a port is safe outside the ephemeral range, or reserved by anybody", () => {
  sysctl("50000");
  const ports = open();
  expect([30_080, 32_767, 32_768, 50_000, 60_999, 61_000].map((port) => ports.isSafe(port))).toEqual([
    true,
    true,
    false,
    true,
    false,
    true,
  ]);
  ports.update([40_000]);
  expect(ports.isSafe(40_000)).toBe(true);
  ports.update([]);
  expect(ports.isSafe(40_000)).toBe(false);
});

test("nothing to do writes nothing", () => {
  sysctl("9000");
  const ports = open();
  ports.update([]);
  ports.update([9000]);
  expect(existsSync(state)).toBe(false);
});

test("with a state file that cannot be read nothing is ours, and what is reserved stays", () => {
  open().update([31000]);
  writeFileSync(state, "{");
  const ports = open();
  expect(ports.ours).toEqual([]);
  ports.update([31001]);
  ports.release();
  expect(sysctl()).toBe("31000");
});
