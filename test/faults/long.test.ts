// SPDX-License-Identifier: Apache-2.0
// The faults whose figures are minutes: they all run at the same time, each with an agent of its own. What takes longer
// than this is shown by the unit tests' faster clock.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { type FaultApiServer, sendStatus } from "../support/api-server.ts";
import { type Duration, FaultBed, service } from "./bed.ts";
import { figure } from "./figures.ts";

const beds: FaultBed[] = [];
/** Reflectors of one agent: Services, EndpointSlices, the Node, ServiceCIDRs. */
const REFLECTORS = 4;

async function makeBed(): Promise<FaultBed> {
  const bed = await FaultBed.create();
  beds.push(bed);
  return bed;
}

afterAll(async () => {
  for (const bed of beds) await bed.remove();
});

const seconds = (sinceMs: number): number => (performance.now() - sinceMs) / 1000;

/** A server process that SIGSTOP freezes, and one beside it that has something new. */
async function frozenServer(): Promise<{ found: number; delivered: number }> {
  const faults = await makeBed();
  const script = new URL("./server-process.ts", import.meta.url).pathname;
  const frozen = await faults.bed.daemon([process.execPath, script]);
  const url = /ready (\S+)/.exec(frozen.log())?.[1] ?? "";
  const other = await faults.serve({ version: 200 });
  const config = faults.config(`apiServers: ["${url}"]`);
  const { report } = await faults.sync(other, [`--config=${config}`]);
  expect(report.source.peer).toBe(url);
  other.put("services", service("news", "10.96.0.92"));
  process.kill(frozen.pid, "SIGSTOP");
  const startMs = performance.now();
  await faults.says("silence", ({ source }) => (source.counters["idle_timeouts"] ?? 0) > 0);
  const found = seconds(startMs);
  await faults.says("the other's news", ({ objects }) => objects.services === 2);
  return { found, delivered: seconds(startMs) };
}

/** Watches are 410 for ever. */
async function storm(): Promise<{ first: number; after: number; withdrawn: number }> {
  const faults = await makeBed();
  const server = await faults.serve();
  server.watchList = "refused";
  const { report } = await faults.sync(server);
  const lists: number[] = [];
  server.intercept = ({ kind, resource, atMs }, response) => {
    if (kind === "list" && resource === "services") lists.push(atMs);
    if (kind !== "watch") return false;
    sendStatus(response, 410, "too old resource version");
    return true;
  };
  server.endWatches();
  await sleep(75_000);
  const since = (ms: number) => ms - (lists[0] ?? 0);
  const after = await faults.state();
  return {
    first: lists.filter((ms) => since(ms) < 10_000).length,
    after: lists.filter((ms) => since(ms) >= 10_000 && since(ms) < 70_000).length,
    withdrawn: report.programmer.units - after.programmer.units,
  };
}

/** Every connection is reset, from 0 to 90 s. */
async function outage(): Promise<{ pace: number; recovered: Duration; spread: number }> {
  const faults = await makeBed();
  const server = await faults.serve();
  // Events are requests of their own, and not what is counted here.
  await faults.sync(server, [`--config=${faults.config("events: false")}`]);
  server.refusing = true;
  server.dropConnections();
  await sleep(30_000);
  const before = server.refused;
  const sinceMs = performance.now();
  await sleep(60_000);
  const pace = (server.refused - before) / seconds(sinceMs) / REFLECTORS;
  server.refusing = false;
  const asked = server.requests.length;
  const recovered = await faults.seconds(async () => {
    await faults.live(server);
    await faults.says("all is well", ({ source }) => source.state === "synced");
  });
  const times = server.requests.slice(asked).map(({ atMs }) => atMs);
  return { pace, recovered, spread: Math.max(...times) - Math.min(...times) };
}

/** The first server takes connections and says nothing; the second answers. */
async function mute(): Promise<number> {
  const faults = await makeBed();
  const dumb: FaultApiServer = await faults.serve();
  dumb.intercept = () => true;
  const other = await faults.serve();
  const agent = faults.start(faults.kubeconfig(other.url), [
    `--config=${faults.config(`apiServers: ["${dumb.url}"]`)}`,
  ]);
  await faults.says("it is in sync", ({ synced }) => synced);
  expect(agent.exit).toBeUndefined();
  return seconds(dumb.requests[0]?.atMs ?? 0);
}

test("silence, a storm, an outage and a mute server, in real time", { timeout: 240_000 }, async () => {
  const [silent, gone, away, unanswered] = await Promise.all([frozenServer(), storm(), outage(), mute()]);
  const inSeconds = { unit: "s" } as const;
  figure({ row: 7, what: "SIGSTOPped server: found after", seen: silent.found, bar: 90, ...inSeconds });
  figure({
    row: 7,
    what: "SIGSTOPped server: the other one's news after",
    seen: silent.delivered,
    bar: 90,
    ...inSeconds,
  });
  figure({ row: 6, what: "permanent 410: lists in the first 10 s", seen: gone.first, bar: 6 });
  figure({ row: 6, what: "permanent 410: lists in the minute after", seen: gone.after, bar: 2 });
  figure({ row: 6, what: "permanent 410: units withdrawn", seen: gone.withdrawn, bar: 0 });
  figure({ row: 5, what: "outage, seconds 30 to 90: requests a second and reflector", seen: away.pace, bar: 0.05 });
  figure({ row: 5, what: "outage of 90 s: recovered after", bar: 60, ...away.recovered });
  figure({
    row: 7,
    what: "a server that takes and never answers: in sync by another after",
    seen: unanswered,
    bar: 45,
    ...inSeconds,
  });
  // Reflectors come back one by one, not together.
  expect(away.spread).toBeGreaterThan(100);
});
