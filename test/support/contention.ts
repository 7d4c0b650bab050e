// SPDX-License-Identifier: Apache-2.0
// How long a command took by itself: less what somebody on this machine had to wait for a processor or a disk
// meanwhile, and the machine for its host. A busy machine is no reason to call a program slow.

import { readFileSync } from "node:fs";

const TICK_MS = 10;

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Milliseconds in which some task waited for this; 0 where the kernel does not say. */
const pressureMs = (resource: "cpu" | "io" | "memory"): number =>
  Number(/^some .* total=(\d+)$/m.exec(textOf(`/proc/pressure/${resource}`))?.[1] ?? 0) / 1_000;

function contendedMs(): number {
  const stolen = Number(textOf("/proc/stat").split("\n", 1)[0]?.trim().split(/\s+/)[8] ?? 0) * TICK_MS;
  return pressureMs("cpu") + pressureMs("io") + pressureMs("memory") + stolen;
}

/** What `act` answers, and how long it took without the waiting. */
export async function alone<T>(act: () => Promise<T>): Promise<{ readonly answer: T; readonly tookMs: number }> {
  const [startMs, beforeMs] = [performance.now(), contendedMs()];
  const answer = await act();
  return { answer, tookMs: performance.now() - startMs - (contendedMs() - beforeMs) };
}
