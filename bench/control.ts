// SPDX-License-Identifier: Apache-2.0
// The agent itself: from a watch event to the kernel's maps, cold and warm starts, memory. Fed by an API server that
// costs next to nothing; judged by the maps, which are read from outside.

import { setTimeout as sleep } from "node:timers/promises";
import type { Daemon } from "../test/support/daemon.ts";
import { Bed } from "./bed.ts";
import { Churn } from "./churn.ts";
import { coldWriteMs } from "./cold-writes.ts";
import { exactly, judge, most, type Row, table } from "./goals.ts";
import { machineFacts } from "./machine.ts";
import { cpuSeconds } from "./memory.ts";
import { changedRows, mapBytes, Observer } from "./observer.ts";
import { goalResults, json, save } from "./results.ts";
import { largeRows, manyRows } from "./scale.ts";
import { expectEverything, report, type Scene, scene, start } from "./scene.ts";
import { type BenchService, benchServices } from "./services.ts";
import { quantile } from "./statistics.ts";

const SERVICES = 10_000;
const SETTLE_MS = 2_000;
const REST_MS = 45_000;
const IDLE_MS = 60_000;
const MIB = 2 ** 20;

const GOALS = {
  p50: most("15", "watch event to kernel map, 100 events/s, p50", "ms", 2, 1),
  p99: most("15", "… p99", "ms", 10, 5),
  fastP99: most("16", "… at 1,000 events/s, p99", "ms", 25, 10),
  writes: most("17", "one endpoint replaced: map writes", "", 10, 3),
  cold: most("18", "cold sync, 10,000 Services, 100,000 endpoints, list included", "s", 4, 2),
  coldWrites: most("18", "… of it writing to the kernel, by the agent's own clock", "ms", 150, 60),
  coldOutside: most("18", "… from the first map write to the last, seen from outside", "ms", 150, 60),
  restart: most("19", "restart with nothing changed: map writes", "", 0, 0),
  stall: most("22b", "event loop held up while endpoints change: 999 of 1,000 moments", "ms", 20, 10),
  maps: most("21", "maps at default sizes", "MiB", 70, 55),
  idle: most("22", "CPU without events", "%", 0.5, 0.1),
} as const;

async function coldStart(scene: Scene, services: readonly BenchService[]): Promise<{ agent: Daemon; rows: Row[] }> {
  const writing = coldWriteMs(scene.home.maps, services);
  const { agent, seconds, writeMs } = await start(scene);
  const outsideMs = await writing;
  using observer = new Observer(scene.home.maps);
  expectEverything(observer, services);
  const rows = [
    judge(GOALS.cold, exactly(seconds)),
    judge(GOALS.coldWrites, exactly(writeMs)),
    judge(GOALS.coldOutside, exactly(outsideMs)),
  ];
  return { agent, rows };
}

async function events(scene: Scene, services: readonly BenchService[]): Promise<Row[]> {
  using observer = new Observer(scene.home.maps);
  const churn = new Churn(scene.api, observer, services);
  const before = (await report(scene.home)).programmer;
  const slow = await churn.run(2_000, 100);
  await sleep(SETTLE_MS);
  const writes = ((await report(scene.home)).programmer.writes - before.writes) / slow.length;
  const fast = await churn.run(10_000, 1_000);
  await sleep(SETTLE_MS);
  expectEverything(observer, churn.services);
  const { loopDelay } = await report(scene.home);
  return [
    judge(GOALS.p50, exactly(quantile(slow, 0.5))),
    judge(GOALS.p99, exactly(quantile(slow, 0.99))),
    judge(GOALS.fastP99, exactly(quantile(fast, 0.99))),
    judge(GOALS.writes, exactly(writes)),
    judge(GOALS.stall, exactly(loopDelay.since.p999Ms)),
  ];
}

/** CPU of the agent while nothing happens, in per cent of one. */
async function idle(agent: Daemon): Promise<Row> {
  // What follows the first sync, the trimming of the heap and the first audit among it, is not idling; later audits are.
  await sleep(REST_MS);
  const before = cpuSeconds(agent.pid);
  await sleep(IDLE_MS);
  return judge(GOALS.idle, exactly(((cpuSeconds(agent.pid) - before) / (IDLE_MS / 1000)) * 100));
}

/** Stops and starts the agent: what it says that it wrote, and what differs in the maps, whichever is more. */
async function restart(scene: Scene, agent: Daemon): Promise<Row> {
  using observer = new Observer(scene.home.maps);
  const before = observer.snapshot();
  await agent.stop();
  const again = await start(scene);
  await sleep(SETTLE_MS);
  const { writes } = (await report(scene.home)).programmer;
  const changed = changedRows(before, observer.snapshot());
  await again.agent.stop();
  return judge(GOALS.restart, exactly(Math.max(writes, changed)));
}

const total = (bytes: ReadonlyMap<string, number>): number => [...bytes.values()].reduce((sum, one) => sum + one, 0);

/** Runs it and prints the figures beside the goals; gives the rows. */
export async function controlBenchmark(publish: boolean): Promise<Row[]> {
  const bed = await Bed.open();
  try {
    const services = benchServices(SERVICES);
    const small = await scene(bed, "control", services);
    console.log("cold start with 10,000 Services and 100,000 endpoints");
    const cold = await coldStart(small, services);
    const maps = mapBytes(small.home.maps);
    console.log("idle");
    const resting = await idle(cold.agent);
    console.log("changing endpoints at 100 and at 1,000 events a second");
    const changed = await events(small, services);
    console.log("restart with nothing changed");
    const restarted = await restart(small, cold.agent);
    console.log("10,000 Services and 250,000 endpoints");
    const large = await largeRows(bed);
    console.log("44,000 Services");
    const many = await manyRows(bed);
    const rows = [
      ...changed,
      ...cold.rows,
      restarted,
      ...large,
      ...many,
      judge(GOALS.maps, exactly(total(maps) / MIB)),
      resting,
    ];
    console.log(`\n${table(rows)}`);
    const result = {
      format: 1,
      takenAt: new Date().toISOString().slice(0, 10),
      machine: await machineFacts(),
      mapBytes: Object.fromEntries(maps),
      goals: goalResults(rows),
    };
    console.log(`\nresults: ${save("control.json", json(result), publish)}`);
    return rows;
  } finally {
    await bed.close();
  }
}
