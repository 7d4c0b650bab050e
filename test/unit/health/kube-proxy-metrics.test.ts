// SPDX-License-Identifier: Apache-2.0
// kube-proxy's families: those without labels from the start with 0, the others with their first use; and the clean-up of
// UDP, which a kube-proxy beside us does not always show.

import { beforeEach, expect, test } from "vitest";
import { expose } from "../../../src/health/exposition.ts";
import { KubeProxyMetrics } from "../../../src/health/kube-proxy-metrics.ts";
import { Registry } from "../../../src/health/prometheus.ts";
import { parseExposition, sampleValue } from "../../support/exposition.ts";

let registry: Registry;
let metrics: KubeProxyMetrics;

beforeEach(() => {
  registry = new Registry();
  metrics = new KubeProxyMetrics({ registry, noLocalEndpoints: () => null });
});

const names = async (): Promise<string[]> => [...parseExposition(await expose(registry)).keys()];

const UNLABELLED = [
  "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
  "kubeproxy_sync_proxy_rules_endpoint_changes_total",
  "kubeproxy_sync_proxy_rules_service_changes_pending",
  "kubeproxy_sync_proxy_rules_service_changes_total",
];

test("a family appears with its first value", async () => {
  expect(await names()).toEqual(UNLABELLED);
  metrics.answered("livez", 200);
  metrics.queued(6);
  metrics.ran(6, 0.01, true);
  metrics.synced(6);
  metrics.programmed(6, 0);
  expect(await names()).toEqual(
    [
      ...UNLABELLED,
      "kubeproxy_network_programming_duration_seconds",
      "kubeproxy_proxy_livez_total",
      "kubeproxy_sync_full_proxy_rules_duration_seconds",
      "kubeproxy_sync_proxy_rules_duration_seconds",
      "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
      "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    ].sort(),
  );
  // The bound 0 is really there.
  const none = { ip_family: "IPv6", le: "0" };
  expect(sampleValue(await expose(registry), "kubeproxy_network_programming_duration_seconds_bucket", none)).toBe(1);
});

test("the clean-up of UDP: every run is measured, and the count is there with the first, 0", async () => {
  metrics.reconciled(4, 0.003, 0);
  metrics.reconciled(4, 0.3, 2);
  const text = await expose(registry);
  const families = parseExposition(text);
  const runs = families.get("kubeproxy_conntrack_reconciler_sync_duration_seconds");
  expect([runs?.type, runs?.help]).toEqual(["histogram", "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds"]);
  expect(runs?.samples.flatMap(({ labels }) => labels["le"] ?? [])).toEqual(
    "0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384 +Inf".split(" "),
  );
  const deleted = families.get("kubeproxy_conntrack_reconciler_deleted_entries_total");
  expect([deleted?.type, deleted?.help, deleted?.samples]).toEqual([
    "counter",
    "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
    [{ name: "kubeproxy_conntrack_reconciler_deleted_entries_total", labels: { ip_family: "IPv4" }, value: "2" }],
  ]);
  const within = { ip_family: "IPv4", le: "0.004" };
  expect(sampleValue(text, "kubeproxy_conntrack_reconciler_sync_duration_seconds_bucket", within)).toBe(1);
});
