// SPDX-License-Identifier: Apache-2.0
// Fills the heap, lets go of most of it here and there, rests, at most until it has shrunk by far, and prints its size
// before and after in bytes. Arguments, in milliseconds: how long nothing has been programmed, as the agent would say;
// how long to rest.

import { setTimeout as sleep } from "node:timers/promises";
import { getHeapStatistics } from "node:v8";
import { HeapTrim } from "../../../../src/agent/heap-trim.ts";

const kept: unknown[] = [];
{
  const all = Array.from({ length: 600_000 }, (_, i) => ({ i, text: `object ${i}`, inner: { i } }));
  for (let i = 0; i < all.length; i += 5) kept.push(all[i]);
}
await sleep(100);
const size = (): number => getHeapStatistics().total_heap_size;
const [silentMs = 0, restMs = 0] = process.argv.slice(2).map(Number);
const before = size();
const trim = new HeapTrim();
trim.tick(0);
trim.tick(silentMs);
for (let restedMs = 0; restedMs < restMs && size() > before / 2; restedMs += 500) await sleep(500);
console.log(JSON.stringify({ before, after: size(), kept: kept.length }));
