// SPDX-License-Identifier: Apache-2.0
// Pins that a release left which had no source ranges: its maps are adopted, the one that is new is made beside them,
// and whoever looks at the pins, with their own types or this release's, can read them.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BpfMap, BpfObject, Btf, sys } from "libbpf-ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MAP_NAMES, Maps } from "../../src/datapath/maps.ts";
import { PinDirectory, removePins } from "../../src/datapath/pins.ts";
import { Programs } from "../../src/datapath/programs.ts";
import { readStats } from "../../src/datapath/stats.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { options } from "../support/fresh-maps.ts";
import { mapLines } from "../support/map-lines.ts";
import { frontend, makeUnit } from "../support/units.ts";
import { cgroupMount } from "./bed.ts";
import { OBJECT, SIZES } from "./hooks.ts";

const directory = mkdtempSync(join(tmpdir(), `pt-upgrade-${process.pid}-`));
const bpffs = join(directory, "bpffs");
const cgroup = join(cgroupMount(), `ptdp-${process.pid}-upgrade`);
const NEW = "pt_src_ranges";
const plain = makeUnit({ name: "a/web", clusterIp: "10.96.0.1", endpoints: ["10.1.0.1:8080"] });
const ranged = makeUnit({
  name: "b/lb",
  frontends: [frontend("loadBalancer", "192.0.2.1", 80)],
  endpoints: ["10.1.0.1:8080"],
  sourceRanges: { allowHost: true, allowPods: false, prefixes: ["10.0.0.0/8"] },
});

/** The maps and types of this source without what source ranges added. */
function buildFormer(): string {
  const source = join(directory, "bpf");
  cpSync(join(import.meta.dirname, "../../bpf"), source, { recursive: true });
  const edit = (file: string, ...cuts: readonly RegExp[]): void => {
    const text = readFileSync(join(source, file), "utf8");
    for (const cut of cuts) expect(text, `${file}: ${cut}`).toMatch(cut);
    writeFileSync(
      join(source, file),
      cuts.reduce((rest, cut) => rest.replace(cut, ""), text),
    );
  };
  edit("types.h", /\tFRONTEND_SOURCE_RANGES[^;]*(?=\};)/, /\tSTAT_SOURCE_OUTSIDE.*\n/);
  edit("maps.h", /struct \{(?:(?!struct \{).)*\} pt_src_ranges SEC\("\.maps"\);/s);
  writeFileSync(join(source, "former.c"), '#include "config.h"\n#include "maps.h"\n');
  const multiarch = execFileSync("cc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  const object = join(directory, "former.bpf.o");
  const flags = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", `-I/usr/include/${multiarch}`];
  execFileSync(process.env["CLANG"] ?? "clang-19", [...flags, "-c", join(source, "former.c"), "-o", object]);
  return object;
}

const pinnedIds = (dir: string): Record<string, number> =>
  Object.fromEntries(
    readdirSync(dir).map((name) => {
      using map = BpfMap.open(join(dir, name));
      return [name, map.info.id];
    }),
  );

beforeAll(() => {
  mkdirSync(bpffs);
  sys.mount("bpf", bpffs, "bpf", 0, "mode=0700");
  mkdirSync(cgroup);
});

afterAll(() => {
  removePins({ ...paths(), root: join(bpffs, "portolan") });
  sys.umount(bpffs);
  rmdirSync(cgroup);
  rmSync(directory, { recursive: true, force: true });
});

const paths = () => {
  const version = join(bpffs, "portolan", "v1");
  return { version, maps: join(version, "maps"), links: join(version, "links"), progs: join(version, "progs") };
};

test("pins without the new map: the others are adopted and go on, the new one is there when it is needed", async () => {
  using former = BpfObject.open(buildFormer());
  for (const [name, size] of Object.entries(SIZES)) if (name !== NEW) former.setMaxEntries(name, size);
  former.load();
  using pins = new PinDirectory(bpffs);
  mkdirSync(pins.paths.maps);
  for (const name of MAP_NAMES) if (name !== NEW) former.map(name).pin(join(pins.paths.maps, name));
  const before = pinnedIds(pins.paths.maps);

  using programs = new Programs({
    objectFile: OBJECT,
    sizes: SIZES,
    constants: { sockets_mask: (SIZES["pt_sockets"] ?? 1) - 1 },
    pins,
    cgroup,
    recreateMaps: false,
  });
  expect(programs.replaced).toBeNull();
  using maps = Maps.ofObject(programs.object);
  const programmer = await Programmer.start(maps, options);
  programs.activate();
  programmer.apply({ upserted: [plain, ranged], removed: [] });
  await programmer.settled();
  const { [NEW]: added, ...adopted } = pinnedIds(pins.paths.maps);
  expect(adopted).toEqual(before);
  expect(added).toBeGreaterThan(0);

  const lines = [
    "a/web TCP 10.96.0.1:80 ClusterIP cluster=10.1.0.1:8080",
    "b/lb TCP 192.0.2.1:80 LoadBalancer cluster=10.1.0.1:8080 ranges=host,10.0.0.0/8",
  ];
  using ownTypes = Maps.openPinned(pins.paths.maps, { readOnly: true });
  expect(mapLines(ownTypes)).toEqual(lines);
  using stats = BpfMap.open(join(pins.paths.maps, "pt_stats"));
  using formerTypes = Btf.ofMap(stats);
  if (formerTypes === null) throw new Error("no BTF");
  expect(formerTypes.enum("stat_reason")).not.toHaveProperty("STAT_SOURCE_OUTSIDE");
  expect([...readStats(stats, formerTypes).keys()]).toContain("source_outside");
});
