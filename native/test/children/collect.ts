// SPDX-License-Identifier: Apache-2.0
// Drops handles of every kind without closing them, and counts descriptors and mappings after garbage collection.
import { readdirSync, readFileSync } from "node:fs";
import { BpfMap, BpfObject, MapFlags, NetlinkSocket } from "../../index.ts";

const [path = ""] = process.argv.slice(2);
const { gc } = globalThis as unknown as { gc: () => void };
const count = () => readdirSync("/proc/self/fd").length;
const mappings = () =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("bpf-map")).length;

function open(): unknown[] {
  const kept: unknown[] = [];
  const spec = { type: "array", name: "dropped", keySize: 4, valueSize: 8, maxEntries: 8, flags: MapFlags.MMAPABLE };
  for (let i = 0; i < 50; i++) {
    const map = BpfMap.create(spec);
    const view = map.mmap();
    kept.push(map, view, view.buffer, new NetlinkSocket(0));
  }
  for (let i = 0; i < 10; i++) {
    const object = BpfObject.open(path);
    object.load();
    kept.push(object, object.map("table"), object.program("allow"), object.btf());
  }
  return kept;
}

const before = count();
let kept: unknown[] | null = open();
const opened = count();
const mapped = mappings();
if (mapped < 50) throw new Error(`only ${mapped} mappings for ${kept.length} handles`);
kept = null;
for (let i = 0; i < 50 && (count() > before || mappings() > 0); i++) {
  gc();
  await new Promise((resolve) => setTimeout(resolve, 20));
}
console.log(JSON.stringify({ before, opened, after: count(), mappings: mappings() }));
