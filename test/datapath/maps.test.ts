// SPDX-License-Identifier: Apache-2.0
// The program stage on real maps: what it writes is what the kernel holds, through the object and through pins alone;
// histories end as in memory; an agent that starts on the pins of another writes nothing.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BpfMap, BpfObject, Btf, sys } from "libbpf-ts";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Unit } from "../../src/compile/unit.ts";
import { addressBit } from "../../src/datapath/address-bits.ts";
import { type DumpRow, dumpMap } from "../../src/datapath/dump.ts";
import { checkEnums, NODE_ADDR, STAT_REASONS } from "../../src/datapath/layout.ts";
import { MAP_NAMES, Maps } from "../../src/datapath/maps.ts";
import { readStats } from "../../src/datapath/stats.ts";
import { addressBytes } from "../../src/model/address.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { readUnits } from "../../src/program/recover.ts";
import { freshMaps, options } from "../support/fresh-maps.ts";
import { anyPortLines, mapLines, rangeLines, wantedAnyPorts } from "../support/map-lines.ts";
import { fc } from "../support/property.ts";
import { deltaOf, history } from "../support/unit-history.ts";
import { frontend, makeUnit } from "../support/units.ts";
import { OBJECT } from "./hooks.ts";

const SIZES = {
  pt_services: 64,
  pt_frontends: 256,
  pt_backends: 512,
  pt_active: 512,
  pt_slots: 1,
  pt_names: 64,
  pt_sockets: 64,
  pt_src_ranges: 32,
};
const bpffs = mkdtempSync(join(tmpdir(), `pt-maps-${process.pid}-`));
const pins = join(bpffs, "maps");
let object: BpfObject;
let maps: Maps;

function load(sizes: Readonly<Record<string, number>>): BpfObject {
  const opened = BpfObject.open(OBJECT);
  for (const { name } of opened.programs) opened.setAutoload(name, false);
  for (const [name, size] of Object.entries(sizes)) opened.setMaxEntries(name, size);
  opened.load();
  return opened;
}

beforeAll(() => {
  sys.mount("bpf", bpffs, "bpf", 0, "mode=0700");
});

beforeEach(() => {
  maps?.close();
  object?.close();
  rmSync(pins, { recursive: true, force: true });
  mkdirSync(pins);
  object = load(SIZES);
  for (const name of MAP_NAMES) object.map(name).pin(join(pins, name));
  maps = Maps.ofObject(object);
});

afterAll(() => {
  maps?.close();
  object?.close();
  sys.umount(bpffs);
  rmSync(bpffs, { recursive: true, force: true });
});

const web = makeUnit({
  name: "a/web:http",
  clusterIp: "10.96.0.1",
  endpoints: ["10.1.0.1:8080/cls", "10.1.0.2:8080/cs", "10.1.0.3:8080/s"],
  frontends: [frontend("nodePort", "", 30001, true)],
  emptyLocal: "drop",
  affinitySec: 10800,
});
const six = makeUnit({
  name: "b/six",
  clusterIp: "fd00::1",
  protocol: 17,
  endpoints: ["[fd01::1]:53"],
  frontends: [frontend("loadBalancer", "fd02::1", 53)],
  sourceRanges: { allowHost: true, allowPods: false, prefixes: ["fd02::1/128", "fd10::/12"] },
});

async function started(port: Maps): Promise<Programmer> {
  const programmer = await Programmer.start(port, options);
  programmer.allowDeletes();
  return programmer;
}

test("the object's constants are this program's", () => {
  using btf = object.btf();
  checkEnums(btf);
  expect([...readStats(object.map("pt_stats"), btf).keys()].slice(0, STAT_REASONS.length)).toEqual(
    STAT_REASONS.map((reason) => reason.toLowerCase()),
  );
});

test("what is programmed is read back, by the object and by pins alone", async () => {
  const programmer = await started(maps);
  programmer.apply({ upserted: [web, six], removed: [] });
  const lines = [
    "a/web:http TCP 0.0.0.0:30001 NodePort cluster=10.1.0.1:8080,10.1.0.2:8080 local=10.1.0.1:8080 draining=10.1.0.3:8080 affinity=10800",
    "a/web:http TCP 10.96.0.1:80 ClusterIP cluster=10.1.0.1:8080,10.1.0.2:8080 draining=10.1.0.3:8080 affinity=10800",
    "b/six UDP [fd00::1]:80 ClusterIP cluster=[fd01::1]:53",
    "b/six UDP [fd02::1]:53 LoadBalancer cluster=[fd01::1]:53 ranges=host,fd02::1/128,fd10::/12",
  ];
  expect(mapLines(maps)).toEqual(lines);
  using pinned = Maps.openPinned(pins, { readOnly: true });
  expect(mapLines(pinned)).toEqual(lines);
  expect(anyPortLines(pinned)).toEqual(wantedAnyPorts(maps));
  expect([...readUnits(pinned).units.keys()].sort()).toEqual([web.key, six.key]);
  expect(() => pinned.setCluster(1, 0n)).toThrow("reading only");
});

test("a filter that is newer than the rows is made to let them through before anyone is asked", async () => {
  const first = await started(maps);
  first.apply({ upserted: [web, six], removed: [] });
  first.setNodeAddresses([{ address: addressBytes("192.0.2.1"), flags: NODE_ADDR.MINE | NODE_ADDR.NODE_PORT }]);
  await first.settled();
  const isCovered = (text: string): boolean => {
    const bit = addressBit(addressBytes(text));
    const word = object.map("pt_address_bits").get(new Uint8Array(Uint32Array.of(Math.floor(bit / 64)).buffer));
    return (((word?.[(bit % 64) >> 3] ?? 0) >> (bit % 8)) & 1) === 1;
  };
  const ours = ["10.96.0.1", "fd00::1", "192.0.2.1"];
  expect(ours.map(isCovered)).toEqual([true, true, true]);
  using bits = object.map("pt_address_bits").mmap();
  new Uint8Array(bits.buffer).fill(0);
  using again = Maps.ofObject(object);
  expect(ours.map(isCovered)).toEqual([true, true, true]);
  expect(isCovered("192.0.2.3")).toBe(false);
  expect(again.writes).toBeGreaterThan(0);
});

test("another agent on the same pins adopts everything and writes nothing", async () => {
  const first = await started(maps);
  first.apply({ upserted: [web, six], removed: [] });
  first.setNodeAddresses([{ address: addressBytes("192.0.2.1"), flags: NODE_ADDR.MINE | NODE_ADDR.NODE_PORT }]);
  await first.settled();
  using pinned = Maps.openPinned(pins);
  const second = await started(pinned);
  expect(second.apply({ upserted: [web, six], removed: [] })).toMatchObject({ unchanged: 2, writes: 0 });
  second.setNodeAddresses([{ address: addressBytes("192.0.2.1"), flags: NODE_ADDR.MINE | NODE_ADDR.NODE_PORT }]);
  await second.settled();
  expect(pinned.writes).toBe(0);
  second.setNodeAddresses([{ address: addressBytes("192.0.2.2"), flags: NODE_ADDR.MINE }]);
  // The new address's bit and row, and the old row.
  expect(pinned.writes).toBe(3);
});

/** Those that go are gone a grace period later. */
const withoutRanges = (lines: readonly string[]): string[] => lines.map((line) => line.replace(/ ranges=.*/, ""));

test("random histories end as they do in memory, ids all accounted for, across restarts", async () => {
  await fc.assert(
    fc.asyncProperty(history, async (steps) => {
      let before: readonly Unit[] = [];
      let programmer = await started(maps);
      programmer.apply({ upserted: [], removed: [] });
      await programmer.settled();
      for (const [index, units] of steps.entries()) {
        if (index % 3 === 2) {
          await programmer.settled();
          expect(rangeLines(maps)).toEqual(rangeLines(await freshMaps(before)));
          programmer = await started(maps);
          programmer.apply({ upserted: before, removed: [] });
        }
        expect(programmer.apply(deltaOf(before, units)).refused).toEqual([]);
        before = units;
        const fresh = await freshMaps(units);
        expect(withoutRanges(mapLines(maps))).toEqual(withoutRanges(mapLines(fresh)));
        expect(anyPortLines(maps)).toEqual(wantedAnyPorts(fresh));
      }
      programmer.apply({ upserted: [], removed: before.map(({ key }) => key) });
      await programmer.settled();
      const { fill, units, failure } = programmer.status();
      expect({ units, failure, used: Object.values(fill).map(({ used }) => used) }).toEqual({
        units: 0,
        failure: null,
        used: [0, 0, 0, 0, 0],
      });
    }),
    { numRuns: 20 },
  );
});

test("a full map refuses a unit whole; it comes when there is room", async () => {
  const programmer = await started(maps);
  const many = Array.from({ length: 130 }, (_, i) =>
    makeUnit({ name: `a/s${i}:p`, clusterIp: `10.96.1.${i}`, endpoints: ["10.1.0.1:1"] }),
  );
  const report = programmer.apply({ upserted: many, removed: [] });
  expect(report).toMatchObject({ added: 63 });
  expect(report.refused).toHaveLength(67);
  expect(mapLines(maps)).toHaveLength(63);
  programmer.apply({ upserted: [], removed: many.slice(0, 63).map(({ key }) => key) });
  await programmer.settled();
  expect(programmer.status()).toMatchObject({ units: 63 });
  expect(mapLines(maps)).toHaveLength(63);
});

test("source ranges: more and fewer, read back after a restart, all gone with their unit", async () => {
  const of = (prefixes: readonly string[]): Unit =>
    makeUnit({
      name: "a/lb",
      clusterIp: "10.96.0.1",
      frontends: [frontend("loadBalancer", "192.0.2.1", 80)],
      sourceRanges: { allowHost: false, allowPods: true, prefixes },
    });
  const first = await started(maps);
  for (const prefixes of [["10.0.0.0/8", "198.51.100.7/32"], ["10.0.0.0/8", "10.1.0.0/16"], [], ["10.1.0.0/16"]]) {
    first.apply({ upserted: [of(prefixes)], removed: [] });
    await first.settled();
    expect(rangeLines(maps)).toEqual(prefixes.map((prefix) => `a/lb ${prefix}`));
  }
  using pinned = Maps.openPinned(pins);
  const second = await started(pinned);
  expect(second.apply({ upserted: [of(["10.1.0.0/16"])], removed: [] })).toMatchObject({ unchanged: 1, writes: 0 });
  expect(second.status().fill.sourceRanges).toEqual({ used: 1, capacity: 32 });
  second.apply({ upserted: [], removed: [of([]).key] });
  await second.settled();
  expect([rangeLines(maps), second.status().fill.sourceRanges.used]).toEqual([[], 0]);
});

test("source ranges of nobody, in no canonical form, or of no whole id are put right", async () => {
  const unit = makeUnit({
    name: "a/lb",
    frontends: [frontend("loadBalancer", "192.0.2.1", 80)],
    sourceRanges: { allowHost: false, allowPods: false, prefixes: ["10.0.0.0/8"] },
  });
  (await started(maps)).apply({ upserted: [unit], removed: [] });
  const serviceId = [...maps.names()][0]?.[0] ?? 0;
  const range = (id: number, text: string, bits: number) => ({ serviceId: id, address: addressBytes(text), bits });
  maps.putSourceRange(range(serviceId, "10.1.2.3", 104));
  maps.putSourceRange(range(serviceId, "172.16.0.0", 108));
  maps.putSourceRange(range(17, "172.16.0.0", 108));
  maps.putSourceRange(range(99, "172.16.0.0", 108));
  maps.putSourceRange(range(0, "::", -32));
  expect([...maps.sourceRanges()]).toHaveLength(5);
  const next = await started(maps);
  next.apply({ upserted: [unit], removed: [] });
  await next.settled();
  expect(rangeLines(maps)).toEqual(["a/lb 10.0.0.0/8"]);
  expect(next.status()).toMatchObject({ units: 1, failure: null, fill: { sourceRanges: { used: 1 } } });
});

test("the kernel finds the trie full before we do: the unit is refused, what it wrote goes", async () => {
  const stranger = { serviceId: 60, address: addressBytes("10.0.0.0"), bits: 104 };
  const programmer = await started(maps);
  maps.putSourceRange(stranger);
  const prefixes = Array.from({ length: 32 }, (_, i) => `10.${i}.0.0/16`);
  const unit = makeUnit({
    name: "a/lb",
    clusterIp: "10.96.0.1",
    frontends: [frontend("loadBalancer", "192.0.2.1", 80)],
    sourceRanges: { allowHost: false, allowPods: false, prefixes },
  });
  const { refused } = programmer.apply({ upserted: [unit], removed: [] });
  expect(refused[0]?.reason).toMatch(/^source range 10\.31\.0\.0\/16: .*ENOSPC/);
  await programmer.settled();
  expect([mapLines(maps), rangeLines(maps)]).toEqual([[], ["60 10.0.0.0/8"]]);
  maps.deleteSourceRange(stranger);
  programmer.retry();
  expect(rangeLines(maps)).toHaveLength(32);
});

test("the kernel's own E2BIG in a batch is told from other failures", () => {
  const row = (port: number) => ({
    address: addressBytes("10.0.0.1"),
    port,
    protocol: 6 as const,
    serviceId: 1,
    flags: 1,
  });
  const rows = Array.from({ length: 300 }, (_, i) => row(i + 1));
  expect(maps.putFrontends(rows)).toBe(256);
  expect(maps.putFrontends(rows.slice(256))).toBe(0);
  expect(maps.putFrontends(rows.slice(0, 10))).toBe(10);
  expect(() => maps.putFrontend(row(1000))).toThrow(/E2BIG/);
  maps.deleteFrontend(row(1));
  maps.deleteFrontend(row(1));
  expect([...maps.frontends()]).toHaveLength(255);
});

describe("dump", () => {
  const dump = (name: string): DumpRow[] => {
    using map = BpfMap.open(join(pins, name));
    using btf = Btf.ofMap(map);
    if (btf === null) throw new Error("no BTF");
    return [...dumpMap(map, name, btf)];
  };

  test("reads like a table, by the pins alone", async () => {
    (await started(maps)).apply({ upserted: [web], removed: [] });
    expect(dump("pt_frontends")).toContainEqual({
      key: { addr: "0.0.0.0", port: 30001, proto: "TCP" },
      value: { service_id: 1, flags: ["node_port", "external_local", "bind_guard"] },
    });
    expect(dump("pt_frontends")).toContainEqual({
      key: { addr: "10.96.0.1", port: 0, proto: "any" },
      value: { service_id: 0, flags: ["any_port"] },
    });
    expect(dump("pt_services")).toEqual([
      {
        key: 1,
        value: {
          cluster: { base: 0, count: 2, algorithm: "random" },
          local: { base: 2, count: 1, algorithm: "random" },
          affinity_sec: 10800,
          flags: 0,
        },
      },
    ]);
    expect(dump("pt_slots")).toEqual([{ key: 0, value: { backend_id: [1, 2, 1] } }]);
    expect(dump("pt_backends")[2]).toEqual({
      key: 3,
      value: { addr: "10.1.0.3", port: 8080, proto: "TCP", service_id: 1, generation: 0, flags: ["serving"] },
    });
    expect(dump("pt_src_ranges")).toEqual([]);
    expect(dump("pt_names")).toEqual([{ key: 1, value: { family: 4, proto: "TCP", name: "a/web:http" } }]);
    expect(dump("pt_stats")[0]).toEqual({ key: "connect", value: 0 });
  });

  test("source ranges as people write them", async () => {
    (await started(maps)).apply({ upserted: [six], removed: [] });
    expect(dump("pt_src_ranges")).toEqual([
      { key: { service_id: 1, prefix: "fd02::1/128" }, value: { allowed: 1 } },
      { key: { service_id: 1, prefix: "fd10::/12" }, value: { allowed: 1 } },
    ]);
    expect(dump("pt_frontends")).toContainEqual({
      key: { addr: "fd02::1", port: 53, proto: "UDP" },
      value: { service_id: 1, flags: ["load_balancer", "bind_guard", "source_ranges", "allow_host"] },
    });
    maps.putSourceRange({ serviceId: 2, address: addressBytes("10.0.0.0"), bits: 104 });
    maps.putSourceRange({ serviceId: 2, address: new Uint8Array(16), bits: -16 });
    const keys = dump("pt_src_ranges").map(({ key }) => key);
    expect(keys).toContainEqual({ service_id: 2, prefix: "10.0.0.0/8" });
    expect(keys).toContainEqual({ prefixlen: 16, service_id: 2, addr: "::" });
  });

  test("every map that the kernel can list can be dumped, as JSON", () => {
    for (const name of MAP_NAMES) {
      if (name === "pt_sockets_ovf") expect(() => dump(name)).toThrow("cannot list");
      else expect(() => JSON.stringify(dump(name))).not.toThrow();
    }
  });

  test("affinity and records, as the programs write them", () => {
    using map = BpfMap.open(join(pins, "pt_affinity"));
    const key = new DataView(new ArrayBuffer(24));
    key.setBigUint64(0, 4711n, true);
    key.setUint32(16, 7, true);
    map.set(new Uint8Array(key.buffer), new Uint8Array(24));
    expect(dump("pt_affinity")[0]?.key).toEqual({ client: "netns 4711", service_id: 7, kind: "netns" });
  });
});

test("bpftool shows frontends with readable ports and addresses", async () => {
  (await started(maps)).apply({ upserted: [web], removed: [] });
  const text = execFileSync("bpftool", ["-j", "map", "dump", "pinned", join(pins, "pt_frontends")], {
    encoding: "utf8",
  });
  const rows = (JSON.parse(text) as { formatted: { key: { port: number; addr: number[] } } }[]).map(
    ({ formatted }) => formatted.key,
  );
  expect(rows).toContainEqual(
    expect.objectContaining({ port: 80, addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 96, 0, 1] }),
  );
});
