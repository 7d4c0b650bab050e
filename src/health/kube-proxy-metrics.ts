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
  readonly #sync;
  readonly #fullSync;
  readonly #partialSync;
  readonly #lastSynced;
  readonly #lastQueued;
  readonly #endpointChangesPending;
  readonly #endpointChanges;
  readonly #serviceChangesPending;
  readonly #serviceChanges;
  readonly #programming;
  readonly #answers;
  readonly #reconcilerSync;
  readonly #reconcilerDeleted;

  constructor({ registry, noLocalEndpoints }: KubeProxyMetricsOptions) {
    const { counter, gauge, histogram } = families(registry);
    const S = SYNC_BUCKETS;
    const latency = "SyncProxyRules latency in seconds";
    this.#sync = histogram("sync_proxy_rules_duration_seconds", latency, S);
    this.#fullSync = histogram("sync_full_proxy_rules_duration_seconds", `${latency} for full resyncs`, S);
    this.#partialSync = histogram("sync_partial_proxy_rules_duration_seconds", `${latency} for partial resyncs`, S);
    const synced = "The last time proxy rules were successfully synced";
    this.#lastSynced = gauge("sync_proxy_rules_last_timestamp_seconds", synced, ["ip_family"]);
    const queued = "The last time a sync of proxy rules was queued";
    this.#lastQueued = gauge("sync_proxy_rules_last_queued_timestamp_seconds", queued, ["ip_family"]);
    const changes = (of: string) =>
      [`Pending proxy rules ${of} changes`, `Cumulative proxy rules ${of} changes`] as const;
    const [endpointsPending, endpointsTotal] = changes("Endpoint");
    this.#endpointChangesPending = gauge("sync_proxy_rules_endpoint_changes_pending", endpointsPending, []);
    this.#endpointChanges = counter("sync_proxy_rules_endpoint_changes_total", endpointsTotal, []);
    const [servicesPending, servicesTotal] = changes("Service");
    this.#serviceChangesPending = gauge("sync_proxy_rules_service_changes_pending", servicesPending, []);
    this.#serviceChanges = counter("sync_proxy_rules_service_changes_total", servicesTotal, []);
    const programming = "In Cluster Network Programming Latency in seconds";
    this.#programming = histogram("network_programming_duration_seconds", programming, PROGRAMMING_BUCKETS);
    this.#answers = {
      healthz: counter("proxy_healthz_total", "Cumulative proxy healthz HTTP status", ["code"]),
      livez: counter("proxy_livez_total", "Cumulative proxy livez HTTP status", ["code"]),
    };
    this.#reconcilerSync = histogram(
      "conntrack_reconciler_sync_duration_seconds",
      "ReconcileConntrackFlowsLatency latency in seconds",
      S,
    );
    this.#reconcilerDeleted = counter(
      "conntrack_reconciler_deleted_entries_total",
      "Cumulative conntrack flows deleted by conntrack reconciler",
      ["ip_family"],
    );
    new Gauge({
      name: "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
      help: "[ALPHA] Number of services with a Local traffic policy and no endpoints",
      labelNames: ["ip_family", "traffic_policy"],
      registers: [registry],
      collect() {
        for (const [family, { internal, external }] of noLocalEndpoints() ?? []) {
          this.set({ ip_family: FAMILY_NAME[family], traffic_policy: "internal" }, internal);
          this.set({ ip_family: FAMILY_NAME[family], traffic_policy: "external" }, external);
        }
      },
    });
  }

  /** A Service event, changed or not; `families`: those the node serves, each of which counts it. */
  serviceEvent(families: number): void {
    this.#serviceChanges.inc(families);
  }

  sliceEvent(): void {
    this.#endpointChanges.inc();
  }

  /** What has changed since the last sync. */
  pending(services: number, slices: number): void {
    this.#serviceChangesPending.set(services);
    this.#endpointChangesPending.set(slices);
  }

  queued(family: Family): void {
    this.#lastQueued.set(inFamily(family), Date.now() / 1_000);
  }

  /** Every sync, failed ones too. */
  ran(family: Family, durationSec: number, full: boolean): void {
    this.#sync.observe(inFamily(family), durationSec);
    (full ? this.#fullSync : this.#partialSync).observe(inFamily(family), durationSec);
  }

  synced(family: Family): void {
    this.#lastSynced.set(inFamily(family), Date.now() / 1_000);
  }

  /** Seconds from what a slice says caused its change to the change in the kernel. */
  programmed(family: Family, seconds: number): void {
    this.#programming.observe(inFamily(family), seconds);
  }

  answered(path: "healthz" | "livez", code: number): void {
    this.#answers[path].inc({ code: String(code) });
  }

  /** A clean-up of UDP sockets whose endpoint is gone: what kube-proxy does to conntrack entries. */
  reconciled(family: Family, durationSec: number, deleted: number): void {
    this.#reconcilerSync.observe(inFamily(family), durationSec);
    this.#reconcilerDeleted.inc(inFamily(family), deleted);
  }
}

const inFamily = (family: Family) => ({ ip_family: FAMILY_NAME[family] });

/** Makers of families by kube-proxy's name and text. */
function families(registry: Registry) {
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
