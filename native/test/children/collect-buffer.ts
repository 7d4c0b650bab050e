// SPDX-License-Identifier: Apache-2.0
// Keeps only the ArrayBuffer of a mapping, then drops that too.
import { readFileSync } from "node:fs";
import { BpfMap, MapFlags } from "../../index.ts";

const { gc } = globalThis as unknown as { gc: () => void };
const mappings = () =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("bpf-map")).length;

async function collect(until: () => boolean): Promise<void> {
  for (let i = 0; i < 50 && !until(); i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function mapped(): BigUint64Array {
  const flags = MapFlags.MMAPABLE;
  const map = BpfMap.create({ type: "array", name: "kept", keySize: 4, valueSize: 8, maxEntries: 8, flags });
  const view = map.mmap();
  view.store64(0, 42n);
  return new BigUint64Array(view.buffer);
}

let words: BigUint64Array | null = mapped();
let rounds = 0;
await collect(() => rounds++ > 10);
const value = String(words[0]);
const stillMapped = mappings();
words = null;
await collect(() => mappings() === 0);
console.log(JSON.stringify({ value, mapped: stillMapped, after: mappings() }));
