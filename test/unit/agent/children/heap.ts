// SPDX-License-Identifier: Apache-2.0
// Fills the heap, lets go of most of it here and there, rests, and prints the heap's size before and after in bytes.
// Argument: how long nothing has been programmed, in milliseconds, as the agent would say.

import { setTimeout as sleep } from "node:timers/promises";
import { getHeapStatistics } from "node:v8";
import { HeapTrim } from "../../../../src/agent/heap-trim.ts";

const REST_MS = 12_000;

const kept: unknown[] = [];
{
  const all = Array.from({ length: 600_000 }, (_, i) => ({ i, text: `object ${i}`, inner: { i } }));
  for (let i = 0; i < all.length; i += 5) kept.push(all[i]);
}
await sleep(100);
const before = getHeapStatistics().total_heap_size;
const trim = new HeapTrim();
trim.tick(0);
trim.tick(Number(process.argv[2]));
await sleep(REST_MS);
console.log(JSON.stringify({ before, after: getHeapStatistics().total_heap_size, kept: kept.length }));
