// SPDX-License-Identifier: Apache-2.0
// Frees every other of many small buffers, and prints by how many bytes resident memory shrinks then. Argument: how long
// nothing has been programmed, in milliseconds, as the agent would say.

import { HeapTrim } from "../../../../src/agent/heap-trim.ts";

const kept: Uint8Array[] = [];
for (const [i, bytes] of Array.from({ length: 20_000 }, () => new Uint8Array(8_192).fill(1)).entries()) {
  if (i % 2 === 0) kept.push(bytes);
  else bytes.buffer.transfer(0);
}
const before = process.memoryUsage.rss();
new HeapTrim().tick(Number(process.argv[2]));
console.log(JSON.stringify({ shrunk: before - process.memoryUsage.rss(), kept: kept.length }));
