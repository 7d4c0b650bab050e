// SPDX-License-Identifier: Apache-2.0
// When the loop syncs: not before everything came once, oldest first then, a burst at once, big bursts in slices.

import { setImmediate as turn } from "node:timers/promises";
import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";
import { Latency } from "../../../src/agent/latency.ts";
import { Problems } from "../../../src/agent/notices/problems.ts";
import { SyncLoop } from "../../../src/agent/sync-loop.ts";
import { SyncWatch } from "../../../src/agent/sync-watch.ts";
import { Compiler } from "../../../src/compile/compile.ts";
import type { UnitDelta } from "../../../src/compile/unit.ts";
import { KubeProxyMetrics } from "../../../src/health/kube-proxy-metrics.ts";
import { Registry } from "../../../src/health/prometheus.ts";
import { ProxyHealth } from "../../../src/health/proxy-health.ts";
import { Store } from "../../../src/model/store.ts";
import { PROTOCOL, type Service } from "../../../src/model/types.ts";
import { facts, options } from "../compile/objects.ts";

function service(name: string, { createdMs = 0, ip = "10.96.0.1", port = 80 } = {}): Service {
  return {
    namespace: "ns",
    name,
    uid: name,
    createdMs,
    type: "ClusterIP",
    clusterIps: [ip],
    externalIps: [],
    loadBalancerIps: [],
    ports: [{ name: "", protocol: PROTOCOL.TCP, port, nodePort: 0 }],
    internalLocal: false,
    externalLocal: false,
    affinitySec: 0,
    sourceRanges: [],
    healthCheckNodePort: 0,
  };
}

let deltas: UnitDelta[];
let parts: boolean[];
let events: string[];
let latency: Latency;
let loop: SyncLoop;
let failure: Error | null;
let admission: Promise<void>;

beforeEach(() => {
  deltas = [];
  parts = [];
  events = [];
  failure = null;
  admission = Promise.resolve();
  latency = new Latency();
  const families = [4, 6] as const;
  const watch = new SyncWatch({
    families,
    health: new ProxyHealth({ families, syncPeriodSec: 30, nodeEligible: true }),
    metrics: new KubeProxyMetrics({ registry: new Registry(), noLocalEndpoints: () => null }),
    startedMs: Date.now(),
  });
  loop = new SyncLoop({
    store: new Store(),
    watch,
    onDrained: () => watch.drained(),
    compiler: new Compiler(facts(), options()),
    problems: new Problems(pino({ level: "silent" })),
    latency,
    onNode: (node) => events.push(`node ${node?.name}`),
    onServiceCidrs: (cidrs) => events.push(`cidrs ${cidrs}`),
    admit: () => admission,
    onActive: () => undefined,
    apply: (delta, more) => {
      if (failure) throw failure;
      deltas.push(delta);
      parts.push(more);
    },
    onSynced: () => events.push("synced"),
    onComplete: () => events.push("complete"),
    onFatal: (error) => events.push(`fatal: ${(error as Error).message}`),
  });
});

const put = (object: Service): void => loop.service(`ns/${object.name}`, object, process.hrtime.bigint());

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

async function syncEmpty(): Promise<void> {
  loop.synced("services");
  loop.synced("endpointslices");
  await settle();
}

const names = (): string[][] => deltas.map(({ upserted }) => upserted.map(({ name }) => name));

test("nothing before both kinds have come", async () => {
  put(service("a"));
  loop.complete();
  loop.synced("services");
  await settle();
  expect([deltas, events, loop.isSynced]).toEqual([[], [], false]);
  loop.synced("endpointslices");
  await settle();
  expect(names()).toEqual([["ns/a"]]);
  expect(events).toEqual(["synced", "complete"]);
  expect(loop.isSynced).toBe(true);
  expect(latency.report().count).toBe(0);
});

test("no objects at all is in sync, too", async () => {
  await syncEmpty();
  expect(events).toEqual(["synced"]);
  expect(names()).toEqual([[]]);
});

test("complete comes after synced, once, also much later", async () => {
  await syncEmpty();
  loop.complete();
  await settle();
  put(service("a"));
  await settle();
  expect(events).toEqual(["synced", "complete"]);
});

test("a burst of one turn is one delta", async () => {
  await syncEmpty();
  deltas = [];
  for (let i = 0; i < 10; i++) put(service(`s${i}`, { ip: `10.96.1.${i}` }));
  await settle();
  expect(deltas).toHaveLength(1);
  expect(latency.report()).toMatchObject({ count: 10 });
});

test("the first sync comes in parts, the last one told, without what went meanwhile", async () => {
  for (let i = 0; i < 700; i++) put(service(`s${i}`, { createdMs: i, ip: `10.97.${i >> 8}.${i & 255}` }));
  loop.synced("services");
  loop.synced("endpointslices");
  await turn();
  loop.service("ns/s0", null, process.hrtime.bigint());
  await settle();
  expect(deltas.map(({ upserted }) => upserted.length)).toEqual([128, 128, 128, 128, 128, 59]);
  expect(parts).toEqual([true, true, true, true, true, false]);
  expect(events).toEqual(["synced"]);
});

test("what goes after its part of the first sync was written goes with the last part; what comes back does not", async () => {
  for (let i = 0; i < 1_500; i++) put(service(`s${i}`, { createdMs: i, ip: `10.97.${i >> 8}.${i & 255}` }));
  loop.synced("services");
  loop.synced("endpointslices");
  while (deltas.length === 0) await turn();
  for (const name of ["s0", "s1", "s1499"]) loop.service(`ns/${name}`, null, process.hrtime.bigint());
  while (deltas.length === 1) await turn();
  put(service("s1", { createdMs: 1, ip: "10.97.0.1" }));
  await settle();
  expect(parts.slice(-2)).toEqual([true, false]);
  expect(parts.indexOf(false)).toBe(parts.length - 1);
  expect(deltas.slice(0, -1).flatMap(({ removed }) => removed)).toEqual([]);
  expect(deltas.at(-1)?.removed).toEqual(["ns/s0/TCP/4", "ns/s1499/TCP/4"]);
  expect(names().flat()).not.toContain("ns/s1499");
  expect(
    names()
      .flat()
      .filter((name) => name === "ns/s1"),
  ).toHaveLength(2);
  expect(events).toEqual(["synced"]);
});

test("later a big burst comes in slices, and only the last one drains it", async () => {
  await syncEmpty();
  expect(loop.isDrained).toBe(true);
  deltas = [];
  for (let i = 0; i < 700; i++) put(service(`s${i}`, { ip: `10.97.${i >> 8}.${i & 255}` }));
  while (deltas.length === 0) await turn();
  expect(loop.isDrained).toBe(false);
  await settle();
  expect(loop.isDrained).toBe(true);
  expect(deltas.map(({ upserted }) => upserted.length)).toEqual([256, 256, 188]);
});

test("at first the oldest claims before the younger ones, so that nothing changes hands", async () => {
  put(service("young", { createdMs: 2_000 }));
  for (let i = 0; i < 300; i++) put(service(`s${i}`, { createdMs: 1_500, ip: `10.97.${i >> 8}.${i & 255}` }));
  put(service("old", { createdMs: 1_000 }));
  await syncEmpty();
  expect(deltas[0]?.upserted[0]?.name).toBe("ns/old");
  expect(names().flat()).not.toContain("ns/young");
});

test("what changes before the first compile asks for nothing: all is compiled, the oldest first", async () => {
  put(service("young", { createdMs: 2_000 }));
  loop.recompile(["ns/young", "ns/nobody"]);
  put(service("old", { createdMs: 1_000, ip: "10.96.0.2" }));
  loop.synced("services");
  loop.synced("endpointslices");
  loop.recompile(["ns/young"]);
  await settle();
  expect(deltas[0]?.upserted.map((unit) => unit.service)).toEqual(["ns/old", "ns/young"]);
});

test("recompile looks at Services without an event, and counts no latency", async () => {
  put(service("a"));
  await syncEmpty();
  loop.recompile(["ns/a"]);
  await settle();
  expect(deltas).toHaveLength(2);
  expect(deltas[1]?.upserted).toEqual([]);
  expect(latency.report().count).toBe(0);
});

test("after stop nothing is written", async () => {
  await syncEmpty();
  put(service("a"));
  loop.stop();
  put(service("b"));
  await settle();
  expect(names()).toEqual([[]]);
});

test("a broken invariant is told", async () => {
  await syncEmpty();
  failure = new Error("broken");
  put(service("a"));
  await settle();
  expect(events).toEqual(["synced", "fatal: broken"]);
});
