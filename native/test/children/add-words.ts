// SPDX-License-Identifier: Apache-2.0
// A thread that counts up two words of a pinned array: one by addition, one by compare-and-exchange.
import { workerData } from "node:worker_threads";
import { BpfMap } from "../../index.ts";

const { path, rounds } = workerData as { path: string; rounds: number };
using map = BpfMap.open(path);
using view = map.mmap();
for (let i = 0; i < rounds; i++) {
  view.add64(0, 1n);
  let seen = view.load64(view.elementSize);
  for (;;) {
    const old = view.compareExchange64(view.elementSize, seen, seen + 1n);
    if (old === seen) break;
    seen = old;
  }
}
