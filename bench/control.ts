// SPDX-License-Identifier: Apache-2.0
// The agent itself: from a watch event to the kernel's maps, cold and warm starts, memory. Fed by an API server that
// costs next to nothing; judged by the maps, which are read from outside.

import { setTimeout as sleep } from "node:timers/promises";
import type { Daemon } from "../test/support/daemon.ts";
import { AgentHome, inSync } from "./agent.ts";
import { ApiServer } from "./api-server.ts";
import { Bed } from "./bed.ts";
import { Churn } from "./churn.ts";
import { coldWriteMs } from "./cold-writes.ts";
import { exactly, type Goal, judge, type Row, table } from "./goals.ts";
import { machineFacts } from "./machine.ts";
import { cpuSeconds, PeakMemory, treeBytes } from "./memory.ts";
import { changedRows, mapBytes, Observer } from "./observer.ts";
import { goalResults, json, save } from "./results.ts";
import { type BenchService, benchServices } from "./services.ts";
import { quantile } from "./statistics.ts";

const SERVICES = 10_000;
const SETTLE_MS = 2_000;
const STEADY_MS = 20_000;
const REST_MS = 5_000;
const IDLE_MS = 20_000;
const MIB = 2 ** 20;

const most = (row: string, text: string, unit: Goal["unit"], pass: number, ambitious: number): Goal => ({
  row,
  text,
  unit,
  bound: "most",
  pass,
  ambitious,
});

const GOALS = {
  p50: most("15", "watch event to kernel map, 100 events/s, p50", "ms", 1, 1),
  p99: most("15", "… p99", "ms", 10, 5),
  fastP99: most("16", "… at 1,000 events/s, p99", "ms", 25, 10),
  writes: most("17", "one endpoint replaced: map writes", "", 10, 3),
  cold: most("18", "cold sync, 10,000 Services, 100,000 endpoints, list included", "s", 4, 2),
  coldWrites: most("18", "… of it writing to the kernel, by the agent's own clock", "ms", 150, 60),
  coldOutside: most("18", "… from the first map write to the last, seen from outside", "ms", 150, 60),
  restart: most("19", "restart with nothing changed: map writes", "", 0, 0),
  steady: most("20", "memory at 10,000 Services, 250,000 endpoints: steady", "MiB", 220, 130),
  peak: most("20", "… peak", "MiB", 350, 200),
  maps: most("21", "maps at default sizes", "MiB", 70, 55),
  idle: most("22", "CPU without events", "%", 0.5, 0.1),
} as const;

/** The part of `portolan status -o json` that is used here. */
interface Status {
  readonly agent: { readonly programmer: { readonly writes: number } };
}

interface Scene {
  readonly bed: Bed;
  readonly home: AgentHome;
  readonly api: ApiServer;
  readonly source: readonly string[];
}

async function scene(bed: Bed, label: string, services: readonly BenchService[]): Promise<Scene> {
  const api = await ApiServer.start(services);
  bed.atClose(() => api.close());
  const kubeconfig = bed.write(
    `${label}.kubeconfig`,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "bench", cluster: { server: api.url } }],
      users: [{ name: "bench", user: { token: "bench" } }],
      contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
      "current-context": "bench",
    }),
  );
  const home = await AgentHome.make(bed, { label, node: null, cgroup: bed.cgroup(label) });
  return { bed, home, api, source: [`--kubeconfig=${kubeconfig}`] };
}

const programmer = async (home: AgentHome): Promise<Status["agent"]["programmer"]> =>
  ((await home.status()) as unknown as Status).agent.programmer;

/** Starts the agent and gives it with the seconds until it was in sync. */
async function start({ home, source }: Scene): Promise<{ agent: Daemon; seconds: number; writeMs: number }> {
  const started = performance.now();
  const agent = home.start(source);
  const said = await inSync(agent);
  return { agent, seconds: (performance.now() - started) / 1000, writeMs: Number(said["writeMs"]) };
}

function expectEverything(observer: Observer, services: readonly BenchService[]): void {
  const units = observer.units();
  if (units !== services.length) throw new Error(`${units} units in the kernel, not ${services.length}`);
  for (const service of services) {
    const seen = observer.endpoints(observer.serviceId(service)).sort().join();
    const wanted = service.endpoints
      .map((address) => `${address}:${service.targetPort}`)
      .sort()
      .join();
    if (seen !== wanted) throw new Error(`${service.name}: the kernel has ${seen}, not ${wanted}`);
  }
}

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
  const before = await programmer(scene.home);
  const slow = await churn.run(2_000, 100);
  await sleep(SETTLE_MS);
  const writes = ((await programmer(scene.home)).writes - before.writes) / slow.length;
  const fast = await churn.run(10_000, 1_000);
  await sleep(SETTLE_MS);
  expectEverything(observer, churn.services);
  return [
    judge(GOALS.p50, exactly(quantile(slow, 0.5))),
    judge(GOALS.p99, exactly(quantile(slow, 0.99))),
    judge(GOALS.fastP99, exactly(quantile(fast, 0.99))),
    judge(GOALS.writes, exactly(writes)),
  ];
}

/** CPU of the agent while nothing happens, in per cent of one. */
async function idle(agent: Daemon): Promise<Row> {
  // What follows the first sync, the trimming of the heap among it, is not idling.
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
  const { writes } = await programmer(scene.home);
  const changed = changedRows(before, observer.snapshot());
  await again.agent.stop();
  return judge(GOALS.restart, exactly(Math.max(writes, changed)));
}

const total = (bytes: ReadonlyMap<string, number>): number => [...bytes.values()].reduce((sum, one) => sum + one, 0);

async function memory(bed: Bed): Promise<Row[]> {
  const services = benchServices(SERVICES, 25);
  const large = await scene(bed, "memory", services);
  const agent = large.home.start(large.source);
  const peak = new PeakMemory(agent.pid);
  await inSync(agent);
  await sleep(STEADY_MS);
  const highest = peak.stop();
  const rows = [judge(GOALS.steady, exactly(treeBytes(agent.pid) / MIB)), judge(GOALS.peak, exactly(highest / MIB))];
  {
    using observer = new Observer(large.home.maps);
    expectEverything(observer, services);
  }
  await agent.stop();
  return rows;
}

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
    console.log("memory with 10,000 Services and 250,000 endpoints");
    const memoryRows = await memory(bed);
    const rows = [
      ...changed,
      ...cold.rows,
      restarted,
      ...memoryRows,
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
