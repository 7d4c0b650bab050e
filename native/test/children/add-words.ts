// SPDX-License-Identifier: Apache-2.0
// A thread that counts up two words of a pinned array: one by addition, one by compare-and-exchange. Starts when as
// many threads as `threads` are there, so that they do meet.
import { workerData } from "node:worker_threads";
import { BpfMap } from "../../index.ts";

const { path, rounds, threads } = workerData as { path: string; rounds: number; threads: number };
using map = BpfMap.open(path);
using view = map.mmap();
const [added, exchanged, arrived] = [0, view.elementSize, 2 * view.elementSize];

const deadline = Date.now() + 100_000;
view.add64(arrived, 1n);
while (view.load64(arrived) < BigInt(threads)) {
  if (Date.now() > deadline) throw new Error("the other threads did not come");
}
for (let i = 0; i < rounds; i++) view.add64(added, 1n);
for (let i = 0; i < rounds; i++) {
  let seen = view.load64(exchanged);
  for (;;) {
    const old = view.compareExchange64(exchanged, seen, seen + 1n);
    if (old === seen) break;
    seen = old;
  }
}
