// SPDX-License-Identifier: Apache-2.0
// kube-proxy's own metrics, all that do not speak of a packet filter's rules: same names, types, texts, labels and
// buckets, so that its dashboards and alerts go on. A labelled one appears with its first use.

import type { Family } from "../model/types.ts";
import { Counter, Gauge, Histogram, type Registry } from "./prometheus.ts";
import { FAMILY_NAME } from "./proxy-health.ts";

/** 1 ms, doubled each time, up to 16 s. */
const SYNC_BUCKETS = Array.from({ length: 15 }, (_, i) => 2 ** i / 1_000);

const range = (from: number, to: number, step: number): number[] =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
const PROGRAMMING_BUCKETS = [0, 0.25, 0.5, ...range(1, 59, 1), ...range(60, 115, 5), ...range(120, 300, 30)];

/** ServicePorts whose Local policy drops here although there are endpoints elsewhere. */
export interface NoLocalEndpoints {
  readonly internal: number;
  readonly external: number;
}

export interface KubeProxyMetricsOptions {
  readonly registry: Registry;
  /** Null until something was synced. Asked at each scrape. */
  readonly noLocalEndpoints: () => ReadonlyMap<Family, NoLocalEndpoints> | null;
}

export class KubeProxyMetrics {
  readonly #syncs;
  readonly #changes;
  readonly #answers;
  readonly #reconciler;

  constructor({ registry, noLocalEndpoints }: KubeProxyMetricsOptions) {
    const make = makers(registry);
    this.#syncs = syncFamilies(make);
    this.#changes = changeFamilies(make);
    this.#answers = {
      healthz: make.counter("proxy_healthz_total", "Cumulative proxy healthz HTTP status", ["code"]),
      livez: make.counter("proxy_livez_total", "Cumulative proxy livez HTTP status", ["code"]),
    };
    this.#reconciler = reconcilerFamilies(make);
    registerNoLocalEndpoints(registry, noLocalEndpoints);
  }

  /** A Service event, changed or not; `families`: those the node serves, each of which counts it. */
  serviceEvent(families: number): void {
    this.#changes.services.inc(families);
  }

  sliceEvent(): void {
    this.#changes.endpoints.inc();
  }

  /** What has changed since the last sync. */
  pending(services: number, slices: number): void {
    this.#changes.servicesPending.set(services);
    this.#changes.endpointsPending.set(slices);
  }

  queued(family: Family): void {
    this.#syncs.lastQueued.set(inFamily(family), Date.now() / 1_000);
  }

  /** Every sync, failed ones too. */
  ran(family: Family, durationSec: number, full: boolean): void {
    this.#syncs.all.observe(inFamily(family), durationSec);
    (full ? this.#syncs.full : this.#syncs.partial).observe(inFamily(family), durationSec);
  }

  synced(family: Family): void {
    this.#syncs.lastSynced.set(inFamily(family), Date.now() / 1_000);
  }

  /** Seconds from what a slice says caused its change to the change in the kernel. */
  programmed(family: Family, seconds: number): void {
    this.#syncs.programming.observe(inFamily(family), seconds);
  }

  answered(path: "healthz" | "livez", code: number): void {
    this.#answers[path].inc({ code: String(code) });
  }

  /** A clean-up of UDP sockets whose endpoint is gone: what kube-proxy does to conntrack entries. */
  reconciled(family: Family, durationSec: number, deleted: number): void {
    this.#reconciler.runs.observe(inFamily(family), durationSec);
    this.#reconciler.deleted.inc(inFamily(family), deleted);
  }
}

const inFamily = (family: Family) => ({ ip_family: FAMILY_NAME[family] });

type Makers = ReturnType<typeof makers>;

/** Makers of families by kube-proxy's name and text. */
function makers(registry: Registry) {
  const named = (name: string, text: string) => ({
    name: `kubeproxy_${name}`,
    help: `[ALPHA] ${text}`,
    registers: [registry],
  });
  return {
    counter: (name: string, text: string, labelNames: readonly string[]) =>
      new Counter({ ...named(name, text), labelNames }),
    gauge: (name: string, text: string, labelNames: readonly string[]) =>
      new Gauge({ ...named(name, text), labelNames }),
    histogram: (name: string, text: string, buckets: number[]) =>
      new Histogram({ ...named(name, text), labelNames: ["ip_family"], buckets }),
  };
}

function syncFamilies({ gauge, histogram }: Makers) {
  const latency = "SyncProxyRules latency in seconds";
  const synced = "The last time proxy rules were successfully synced";
  const queued = "The last time a sync of proxy rules was queued";
  const programming = "In Cluster Network Programming Latency in seconds";
  const [full, partial] = [`${latency} for full resyncs`, `${latency} for partial resyncs`];
  return {
    all: histogram("sync_proxy_rules_duration_seconds", latency, SYNC_BUCKETS),
    full: histogram("sync_full_proxy_rules_duration_seconds", full, SYNC_BUCKETS),
    partial: histogram("sync_partial_proxy_rules_duration_seconds", partial, SYNC_BUCKETS),
    lastSynced: gauge("sync_proxy_rules_last_timestamp_seconds", synced, ["ip_family"]),
    lastQueued: gauge("sync_proxy_rules_last_queued_timestamp_seconds", queued, ["ip_family"]),
    programming: histogram("network_programming_duration_seconds", programming, PROGRAMMING_BUCKETS),
  };
}

function changeFamilies({ counter, gauge }: Makers) {
  const pending = (of: string): string => `Pending proxy rules ${of} changes`;
  const total = (of: string): string => `Cumulative proxy rules ${of} changes`;
  return {
    endpointsPending: gauge("sync_proxy_rules_endpoint_changes_pending", pending("Endpoint"), []),
    endpoints: counter("sync_proxy_rules_endpoint_changes_total", total("Endpoint"), []),
    servicesPending: gauge("sync_proxy_rules_service_changes_pending", pending("Service"), []),
    services: counter("sync_proxy_rules_service_changes_total", total("Service"), []),
  };
}

function reconcilerFamilies({ counter, histogram }: Makers) {
  const runs = "ReconcileConntrackFlowsLatency latency in seconds";
  const deleted = "Cumulative conntrack flows deleted by conntrack reconciler";
  return {
    runs: histogram("conntrack_reconciler_sync_duration_seconds", runs, SYNC_BUCKETS),
    deleted: counter("conntrack_reconciler_deleted_entries_total", deleted, ["ip_family"]),
  };
}

function registerNoLocalEndpoints(registry: Registry, read: KubeProxyMetricsOptions["noLocalEndpoints"]): void {
  new Gauge({
    name: "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    help: "[ALPHA] Number of services with a Local traffic policy and no endpoints",
    labelNames: ["ip_family", "traffic_policy"],
    registers: [registry],
    collect() {
      for (const [family, { internal, external }] of read() ?? []) {
        this.set({ ip_family: FAMILY_NAME[family], traffic_policy: "internal" }, internal);
        this.set({ ip_family: FAMILY_NAME[family], traffic_policy: "external" }, external);
      }
    },
  });
}
