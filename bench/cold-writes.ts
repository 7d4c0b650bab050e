// SPDX-License-Identifier: Apache-2.0
// How long the first sync writes to the kernel, seen from outside: from the first row of pt_names (written before
// anything else of a unit) to the last of the frontends (written after everything else).

import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Observer } from "./observer.ts";
import type { BenchService } from "./services.ts";

/** So many frontends, evenly spread, are looked for: looking for all of them would take longer than writing them. */
const SAMPLES = 100;
const START_MS = 60_000;

async function until(what: string, happened: () => boolean, pause: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + START_MS;
  while (!happened()) {
    if (performance.now() > end) throw new Error(`not within ${START_MS} ms: ${what}`);
    await pause();
  }
}

/** To be called before the agent starts for the first time; `maps` is where it will pin its maps. */
export async function coldWriteMs(maps: string, services: readonly BenchService[]): Promise<number> {
  await until(
    "maps are pinned",
    () => existsSync(join(maps, "pt_names")),
    () => sleep(2),
  );
  // The others are pinned by then or a moment later.
  await sleep(20);
  using observer = new Observer(maps);
  await until(
    "the first name",
    () => observer.hasNames(),
    () => sleep(1),
  );
  const started = performance.now();
  const stride = Math.max(1, Math.floor(services.length / SAMPLES));
  const missing = new Set(services.filter((_, n) => n % stride === 0 || n === services.length - 1));
  const found = (): boolean => {
    for (const service of missing) if (observer.serviceId(service) > 0) missing.delete(service);
    return missing.size === 0;
  };
  await until("the last frontend", found, () => sleep(1));
  return performance.now() - started;
}
