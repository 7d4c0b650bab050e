// SPDX-License-Identifier: Apache-2.0
// The agent with as much as it is built for: 250,000 endpoints, and 44,000 Services. Memory, the event loop, the audit's
// cost, a warm start.

import { setTimeout as sleep } from "node:timers/promises";
import type { AgentHome } from "./agent.ts";
import type { Bed } from "./bed.ts";
import { exactly, judge, most, type Row } from "./goals.ts";
import { PeakMemory, treeBytes } from "./memory.ts";
import { changedRows, Observer } from "./observer.ts";
import { expectEverything, report, type Scene, scene, start } from "./scene.ts";
import { benchServices } from "./services.ts";

const LARGE = { services: 10_000, endpoints: 25 } as const;
const MANY = { services: 44_000, endpoints: 1 } as const;
/** The heap has come to rest by then, and an audit is over. */
const STEADY_MS = 40_000;
const AUDIT_MS = 60_000;
const SETTLE_MS = 2_000;
const MIB = 2 ** 20;

const GOALS = {
  steady: most("20", "memory at 10,000 Services, 250,000 endpoints: steady", "MiB", 220, 130),
  peak: most("20", "… peak", "MiB", 350, 200),
  sync: most("22b", "… longest that the event loop was held up in the first sync", "ms", 100, 50),
  since: most("22b", "… and since, with the heap's trimming and an audit", "ms", 100, 50),
  audit: most("13", "… an audit of it all every 30 s: time spent a minute", "ms", 1_000, 500),
  slice: most("13", "… of it at once", "ms", 20, 10),
  warm: most("2", "… start on what is pinned already", "s", 5, 2.5),
  warmWrites: most("2", "… and its map writes", "", 0, 0),
  many: most("18b", "cold sync, 44,000 Services, list included", "s", 10, 5),
  manySync: most("22b", "… longest that the event loop was held up", "ms", 100, 50),
} as const;

/** 10,000 Services with 250,000 endpoints. */
export async function largeRows(bed: Bed): Promise<Row[]> {
  const services = benchServices(LARGE.services, LARGE.endpoints);
  const large = await scene(bed, "large", services);
  const agent = large.home.start(large.source);
  const peak = new PeakMemory(agent.pid);
  await firstAudit(large.home);
  const { audit, loopDelay } = await report(large.home);
  await sleep(STEADY_MS);
  const steady = treeBytes(agent.pid);
  const since = (await report(large.home)).loopDelay.since.maxMs;
  const rows = [
    judge(GOALS.steady, exactly(steady / MIB)),
    judge(GOALS.peak, exactly(peak.stop() / MIB)),
    judge(GOALS.sync, exactly(loopDelay.firstSync.maxMs)),
    judge(GOALS.since, exactly(since)),
    judge(GOALS.audit, exactly((audit.workMs * 60) / audit.periodSec)),
    judge(GOALS.slice, exactly(audit.longestSliceMs)),
  ];
  {
    using observer = new Observer(large.home.maps);
    expectEverything(observer, services);
  }
  await agent.stop();
  return [...rows, ...(await warmStart(large))];
}

/** The first audit compares everything; later ones may only have to look whether anything has changed. */
async function firstAudit(home: AgentHome): Promise<void> {
  const end = performance.now() + AUDIT_MS;
  while ((await report(home).catch(() => null))?.audit.audits !== 1) {
    if (performance.now() > end) throw new Error("no audit within a minute");
    await sleep(1_000);
  }
}

async function warmStart(scene: Scene): Promise<Row[]> {
  using observer = new Observer(scene.home.maps);
  const before = observer.snapshot();
  const { agent, seconds } = await start(scene);
  await sleep(SETTLE_MS);
  const { writes } = (await report(scene.home)).programmer;
  const changed = changedRows(before, observer.snapshot());
  await agent.stop();
  return [judge(GOALS.warm, exactly(seconds)), judge(GOALS.warmWrites, exactly(Math.max(writes, changed)))];
}

/** As many Services as a cluster is said to have at most. */
export async function manyRows(bed: Bed): Promise<Row[]> {
  const services = benchServices(MANY.services, MANY.endpoints);
  const many = await scene(bed, "many", services);
  const { agent, seconds } = await start(many);
  {
    using observer = new Observer(many.home.maps);
    expectEverything(observer, services);
  }
  const { loopDelay } = await report(many.home);
  await agent.stop();
  return [judge(GOALS.many, exactly(seconds)), judge(GOALS.manySync, exactly(loopDelay.firstSync.maxMs))];
}
