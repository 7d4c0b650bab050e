// SPDX-License-Identifier: Apache-2.0
// What is counted of the sync loop: events, changes that wait, syncs by family, failures, and what caused a change.

import { beforeEach, expect, test } from "vitest";
import { SyncWatch } from "../../../src/agent/sync-watch.ts";
import { expose } from "../../../src/health/exposition.ts";
import { KubeProxyMetrics } from "../../../src/health/kube-proxy-metrics.ts";
import { Registry } from "../../../src/health/prometheus.ts";
import { ProxyHealth } from "../../../src/health/proxy-health.ts";
import type { EndpointSlice, Family, Service } from "../../../src/model/types.ts";
import type { PendingUnit } from "../../../src/program/status.ts";
import { sampleValue } from "../../support/exposition.ts";

const DUAL = { clusterIps: ["10.96.0.1", "fd00::1"] } as unknown as Service;
const SINGLE = { clusterIps: ["10.96.0.1"] } as unknown as Service;
const BOTH = ["IPv4", "IPv6"] as const;

let registry: Registry;
let watch: SyncWatch;
let startedMs: number;

beforeEach(() => {
  startedMs = Date.now() - 10_000;
  begin([4, 6]);
});

function begin(families: readonly Family[]): void {
  registry = new Registry();
  watch = new SyncWatch({
    families,
    health: new ProxyHealth({ families, syncPeriodSec: 30, nodeEligible: true }),
    metrics: new KubeProxyMetrics({ registry, noLocalEndpoints: () => null }),
    startedMs,
  });
}

const slice = (family: 4 | 6, triggerMs = 0): EndpointSlice => ({ family, triggerMs }) as unknown as EndpointSlice;
const put = <T>(now: T, changed = true) => ({ before: undefined, now, changed });

/** By family: of the metric `kubeproxy_NAME`. */
async function byFamily(name: string): Promise<(number | undefined)[]> {
  const text = await expose(registry);
  return BOTH.map((ip_family) => sampleValue(text, `kubeproxy_${name}`, { ip_family }));
}

async function one(name: string): Promise<number | undefined> {
  return sampleValue(await expose(registry), `kubeproxy_${name}`);
}

function sync(refused: readonly Partial<PendingUnit>[] = []): ReadonlySet<string> | null {
  watch.turn();
  watch.applied({ refused: refused as PendingUnit[] });
  return watch.drained();
}

test("the first sync is a full one of both families, also of nothing; then those that something came for", async () => {
  watch.started();
  expect(sync()).toEqual(new Set());
  expect(await byFamily("sync_full_proxy_rules_duration_seconds_count")).toEqual([1, 1]);
  expect(sync()).toBe(null);
  watch.service("ns/a", put(SINGLE));
  expect(sync()).toEqual(new Set(["ns/a"]));
  expect(await byFamily("sync_full_proxy_rules_duration_seconds_count")).toEqual([1, 1]);
  expect(await byFamily("sync_partial_proxy_rules_duration_seconds_count")).toEqual([1, undefined]);
  expect(await byFamily("sync_proxy_rules_duration_seconds_count")).toEqual([2, 1]);
  watch.recompile(true);
  sync();
  expect(await byFamily("sync_full_proxy_rules_duration_seconds_count")).toEqual([2, 2]);
});

test("what comes before the first turn of the loop waits for no sync", async () => {
  watch.service("ns/a", put(DUAL));
  expect(await byFamily("sync_proxy_rules_last_queued_timestamp_seconds")).toEqual([undefined, undefined]);
  watch.turn();
  watch.service("ns/a", put(SINGLE));
  expect(await byFamily("sync_proxy_rules_last_queued_timestamp_seconds")).toEqual([expect.any(Number), undefined]);
});

test("every event counts, in each family; only what changes something waits", async () => {
  const beforeMs = Date.now();
  watch.service("ns/a", put(DUAL));
  watch.service("ns/a", put(DUAL, false));
  watch.slice("ns/a", put(slice(4)));
  watch.slice("ns/a", put(slice(4)));
  watch.slice("ns/a", put(slice(6), false));
  expect(await one("sync_proxy_rules_service_changes_total")).toBe(4);
  expect(await one("sync_proxy_rules_endpoint_changes_total")).toBe(3);
  expect(await one("sync_proxy_rules_service_changes_pending")).toBe(1);
  expect(await one("sync_proxy_rules_endpoint_changes_pending")).toBe(2);
  sync();
  expect(await one("sync_proxy_rules_service_changes_pending")).toBe(0);
  expect(await one("sync_proxy_rules_endpoint_changes_pending")).toBe(0);
  expect(watch.lastEventSec * 1_000).toBeGreaterThanOrEqual(beforeMs);
  expect(watch.lastEventSec * 1_000).toBeLessThanOrEqual(Date.now());
});

test("a Service of a family that the node has not waits for nothing", async () => {
  begin([4]);
  watch.service("ns/a", put({ clusterIps: ["fd00::1"] } as unknown as Service));
  expect(await one("sync_proxy_rules_service_changes_pending")).toBe(0);
  watch.service("ns/b", put(DUAL));
  expect(await one("sync_proxy_rules_service_changes_pending")).toBe(1);
  expect(sync()).toEqual(new Set(["ns/a", "ns/b"]));
  expect(await one("sync_proxy_rules_service_changes_pending")).toBe(0);
});

test("a slice that goes over to another Service touches both", () => {
  const of = (serviceName: string) => ({ ...slice(4), namespace: "ns", serviceName });
  watch.slice("ns/b", { before: of("a"), now: of("b"), changed: true });
  expect(sync()).toEqual(new Set(["ns/a", "ns/b"]));
});

test("a family with a unit that cannot be written is not synced; one without room is", async () => {
  watch.started();
  sync();
  const before = await byFamily("sync_proxy_rules_last_timestamp_seconds");
  await new Promise((resolve) => setTimeout(resolve, 5));
  watch.service("ns/a", put(DUAL));
  sync([{ key: "ns/a/TCP/4", capacity: false }]);
  const [v4, v6] = await byFamily("sync_proxy_rules_last_timestamp_seconds");
  expect(v4).toBe(before[0]);
  expect(v6).toBeGreaterThan(before[1] ?? 0);
  // Tried again by itself, without an event, and well: a full one, since it follows a failure.
  expect(sync()).not.toBe(null);
  expect((await byFamily("sync_proxy_rules_last_timestamp_seconds"))[0]).toBeGreaterThan(v4 ?? 0);
  expect(await byFamily("sync_full_proxy_rules_duration_seconds_count")).toEqual([2, 1]);
  watch.service("ns/a", put(DUAL));
  sync([{ key: "ns/a/TCP/6", capacity: true }]);
  expect(sync()).toBe(null);
});

test("failing until a round of writes went well, whoever asked for it", () => {
  watch.started();
  expect(watch.isFailing).toBe(false);
  sync([{ key: "ns/a/TCP/4", capacity: true }]);
  expect(watch.isFailing).toBe(false);
  sync([{ key: "ns/a/TCP/4", capacity: false }]);
  expect(watch.isFailing).toBe(true);
  expect(sync()).toBe(null);
  expect(watch.isFailing).toBe(false);
});

test("measured: what was caused after the start, at the sync, in its family; not where a slice went", async () => {
  const measured = () => byFamily("network_programming_duration_seconds_count");
  const beforeMs = Date.now();
  watch.slice("ns/a", put(slice(4, Date.now() - 1_000)));
  watch.slice("ns/a", put(slice(4, Date.now() - 2_000)));
  watch.slice("ns/a", put(slice(4, startedMs)));
  watch.slice("ns/a", put(slice(4, Date.now() - 500), false));
  watch.slice("ns/b", put(slice(6, Date.now())));
  watch.slice("ns/b", { before: slice(6, Date.now()), now: null, changed: true });
  expect(await measured()).toEqual([undefined, undefined]);
  sync([{ key: "ns/a/TCP/4", capacity: false }]);
  expect(await measured()).toEqual([undefined, undefined]);
  sync();
  expect(await measured()).toEqual([2, undefined]);
  const sum = (await byFamily("network_programming_duration_seconds_sum"))[0] ?? 0;
  expect(sum).toBeGreaterThan(2.9);
  expect(sum).toBeLessThan(3.1 + (2 * (Date.now() - beforeMs)) / 1_000);
  sync();
  expect(await measured()).toEqual([2, undefined]);
});
