// SPDX-License-Identifier: Apache-2.0
// /metrics beside the real kube-proxy's: every family of its own that does not speak of packet filters is here with the
// same type, text, labels and buckets, and counts the same things; and promtool has nothing to say.

import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command, Daemon, eventually } from "../support/daemon.ts";
import { type Family, parseExposition, sampleValue } from "../support/exposition.ts";
import { checkMetrics } from "../support/promtool.ts";
import { Bed } from "./bed.ts";
import { besideKubeProxy, proxyConfiguration } from "./kube-proxy.ts";
import { service, servicePort, slice } from "./objects.ts";

let bed: Bed;
let theirs: string;
let ours: string;
/** Seconds that the agent's part of the history took. */
let tookSec: number;

const get = (url: string, ...flags: string[]): Promise<string> =>
  command(["curl", "-sS", "--max-time", "10", ...flags, url], { netns: bed.node.netns });
const scrape = (): Promise<string> => get("http://127.0.0.1:10249/metrics");

/** A Service with an endpoint of each family; `trigger`: when what the slice is about happened. */
function serving(name: string, trigger: string | null, suffix = 1): object[] {
  const annotations = trigger === null ? {} : { "endpoints.kubernetes.io/last-change-trigger-time": trigger };
  return [`10.244.1.${suffix}`, `fd00:10:244:1::${suffix}`].map((address, i) => {
    const made = slice(`${name}-${i}`, name, [address]) as { metadata: object };
    return { ...made, metadata: { ...made.metadata, annotations } };
  });
}

/** The same history for either proxy: two Services at the start, then changes of each kind. */
async function live(): Promise<string> {
  await eventually("the first sync", async () => {
    const text = await scrape();
    const synced = (ip_family: string) =>
      sampleValue(text, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", { ip_family });
    return synced("IPv4") !== undefined && synced("IPv6") !== undefined ? true : undefined;
  });
  await get("http://127.0.0.1:10256/healthz");
  await get("http://127.0.0.1:10256/livez");
  await get("http://127.0.0.1:10256/livez");
  await bed.plane.apply(service("late"), ...serving("late", new Date().toISOString()));
  await bed.plane.apply(...serving("late", new Date().toISOString(), 2));
  // A mere touch: an event, and no change.
  await bed.plane.kubectl(["annotate", "--overwrite", "service", "late", `touched=at-${Date.now()}`]);
  const away = (name: string, policy: object) => [
    service(name, policy),
    {
      ...(slice(`${name}-0`, name, ["10.244.2.9"]) as object),
      endpoints: [{ addresses: ["10.244.2.9"], nodeName: "node2" }],
    },
  ];
  await bed.plane.apply(...away("inside", { internalTrafficPolicy: "Local" }));
  await bed.plane.apply(...away("outside", { type: "NodePort", externalTrafficPolicy: "Local" }));
  // A deletion takes away what was to be measured and has not been.
  await eventually("what caused the changes is measured", async () => {
    const text = await scrape();
    const measured = (ip_family: string) =>
      sampleValue(text, "kubeproxy_network_programming_duration_seconds_count", { ip_family });
    return measured("IPv4") === 2 && measured("IPv6") === 2 ? true : undefined;
  });
  await bed.plane.kubectl(["delete", "endpointslice", "late-0"]);
  return await eventually("all is counted", async () => {
    const text = await scrape();
    const one = (policy: string) =>
      sampleValue(text, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", {
        ip_family: "IPv4",
        traffic_policy: policy,
      });
    const pending = sampleValue(text, "kubeproxy_sync_proxy_rules_endpoint_changes_pending");
    return one("internal") === 2 && one("external") === 2 && pending === 0 ? text : undefined;
  });
}

async function reset(): Promise<void> {
  await bed.plane.kubectl([
    "delete",
    "service,endpointslice",
    "late",
    "inside",
    "outside",
    "late-0",
    "late-1",
    "inside-0",
    "outside-0",
    "--ignore-not-found",
  ]);
}

function ofKubeProxy(): Promise<string> {
  return besideKubeProxy(bed, async (proxy) => {
    await proxy.until("serves metrics", async () => ((await scrape()) ? true : undefined));
    const text = await live();
    await reset();
    return text;
  });
}

beforeAll(async () => {
  bed = await Bed.create({ pods: 1 });
  await bed.plane.apply(service("early"), ...serving("early", "2020-01-01T00:00:00Z"));
  theirs = await ofKubeProxy();
  await bed.startAgent({ config: proxyConfiguration(bed) }).inSync();
  const startMs = performance.now();
  ours = await live();
  tookSec = (performance.now() - startMs) / 1_000;
});

afterAll(() => bed?.remove());

/** Families of kube-proxy's own, but those that count writes to nftables. */
function own(text: string): [string, Family][] {
  return [...parseExposition(text)].filter(([name]) => name.startsWith("kubeproxy_") && !name.includes("nftables"));
}

test("kube-proxy's families are here: names, types, texts, labels and their values, buckets", () => {
  const shape = (text: string) =>
    own(text).map(([name, { type, help, samples }]) => {
      return { name, type, help, samples: samples.map((sample) => [sample.name, sample.labels]) };
    });
  // The clean-up of UDP runs with the first UDP endpoint here, and in kube-proxy only where conntrack can be asked.
  const common = (text: string) => shape(text).filter(({ name }) => !name.startsWith("kubeproxy_conntrack_reconciler"));
  expect(common(theirs).length).toBeGreaterThanOrEqual(12);
  expect(common(ours)).toEqual(common(theirs));
});

test("the same history is counted the same", () => {
  const counts = (text: string) =>
    own(text)
      .flatMap(([, { samples }]) => samples)
      .filter(({ name }) =>
        /(_changes_pending|_changes_total|_no_local_endpoints_total|healthz_total|livez_total)$/.test(name),
      )
      .map(({ name, labels, value }) => [name, labels, Number(value)]);
  expect(counts(ours)).toEqual(counts(theirs));
  for (const ip_family of ["IPv4", "IPv6"]) {
    const programmed = (text: string) =>
      sampleValue(text, "kubeproxy_network_programming_duration_seconds_count", { ip_family });
    expect([ip_family, programmed(ours)]).toEqual([ip_family, programmed(theirs)]);
    const sum = sampleValue(ours, "kubeproxy_network_programming_duration_seconds_sum", { ip_family }) ?? Number.NaN;
    // Seconds since what caused the change, which the test said.
    expect(sum / (programmed(ours) ?? 0)).toBeLessThan(tookSec);
    const full = sampleValue(ours, "kubeproxy_sync_full_proxy_rules_duration_seconds_count", { ip_family });
    const partial = sampleValue(ours, "kubeproxy_sync_partial_proxy_rules_duration_seconds_count", { ip_family }) ?? 0;
    const all = sampleValue(ours, "kubeproxy_sync_proxy_rules_duration_seconds_count", { ip_family });
    // The first; and one more if the ServiceCIDRs came after it.
    expect([1, 2]).toContain(full);
    expect([ip_family, all]).toEqual([ip_family, (full ?? 0) + partial]);
    expect(partial).toBeGreaterThanOrEqual(2);
  }
});

test("the headers of a scrape, also for whoever asks for another format", async () => {
  const head = await get(
    "http://127.0.0.1:10249/metrics",
    "-D",
    "-",
    "-o",
    "/dev/null",
    "-H",
    "Accept: application/openmetrics-text",
  );
  expect(head).toMatch(/^Content-Type: text\/plain; version=0\.0\.4; charset=utf-8; escaping=underscores\r$/m);
  expect(head).toMatch(/^Process-Start-Time-Unix: \d{10}\r$/m);
  const compressed = await get("http://127.0.0.1:10249/metrics", "--compressed");
  expect(parseExposition(compressed).size).toBe(parseExposition(await scrape()).size);
});

test("promtool has nothing to say but of names that are kube-proxy's", async () => {
  // As of kube-proxy itself: a gauge called _total, and abbreviations it does not like.
  const allowed = new Set([
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total non-counter metrics should not have "_total" suffix',
  ]);
  const complaints = await checkMetrics(ours);
  expect(complaints.filter((line) => !allowed.has(line))).toEqual([]);
  expect((await checkMetrics(theirs)).filter((line) => allowed.has(line))).toEqual([...allowed]);
});

test("requests to the API server are counted as Kubernetes' own client counts them", () => {
  const of = (text: string, name: string) => parseExposition(text).get(name);
  for (const name of [
    "rest_client_requests_total",
    "rest_client_request_duration_seconds",
    "rest_client_request_size_bytes",
    "rest_client_response_size_bytes",
  ]) {
    const [mine, real] = [of(ours, name), of(theirs, name)];
    expect([name, mine?.type, mine?.help]).toEqual([name, real?.type, real?.help]);
    const labels = (family: Family | undefined) =>
      [...new Set(family?.samples.flatMap((sample) => Object.keys(sample.labels)))].sort();
    expect([name, labels(mine)]).toEqual([name, labels(real)]);
    const bounds = (family: Family | undefined) => [...new Set(family?.samples.map((sample) => sample.labels["le"]))];
    expect([name, bounds(mine)]).toEqual([name, bounds(real)]);
  }
  const host = new URL(bed.plane.server).host;
  // A watch-list for each kind: Services, EndpointSlices, the Node, ServiceCIDRs.
  expect(sampleValue(ours, "rest_client_requests_total", { code: "200", host, method: "GET" })).toBeGreaterThanOrEqual(
    4,
  );
  expect(sampleValue(ours, "rest_client_requests_total", { code: "201", host, method: "POST" })).toBe(1);
  expect(sampleValue(ours, "rest_client_request_duration_seconds_count", { host, verb: "POST" })).toBe(1);
});

test("the process is told of as by Go's client", () => {
  for (const [name, { type, help }] of parseExposition(theirs)) {
    if (!name.startsWith("process_")) continue;
    const mine = parseExposition(ours).get(name);
    expect([name, mine?.type, mine?.help]).toEqual([name, type, help]);
    expect([name, mine?.samples.length]).toEqual([name, 1]);
    expect(Number(mine?.samples[0]?.value)).toBeGreaterThan(0);
  }
});

test("portolan's own: units, maps, connections, verdicts, freshness", async () => {
  await bed.plane.apply(...serving("early", null), slice("early-pod", "early", [bed.pod(1).host.ipv4]));
  const clusterIp = await bed.plane.kubectl(["get", "service", "early", "-o", "jsonpath={.spec.clusterIP}"]);
  const program = `const s = require("node:net").connect(${servicePort.TCP}, ${JSON.stringify(clusterIp)}); s.on("connect", () => console.log("connected")); s.on("error", () => process.exit(1)); setTimeout(() => {}, 600000);`;
  await bed.plane.kubectl(["delete", "endpointslice", "early-0"]);
  const place = { netns: bed.node.netns, cgroup: bed.system };
  const caller = new Daemon([process.execPath, "-e", program], join(bed.dir, "caller.log"), place);
  try {
    await caller.until("connected", () => (caller.log().includes("connected") ? true : undefined));
    const text = await scrape();
    const report = await bed.agent.report();
    const { programmer } = report ?? {};
    expect(sampleValue(text, "portolan_units")).toBe(programmer?.units);
    for (const reason of ["capacity", "write", "removal"])
      expect(sampleValue(text, "portolan_units_pending", { reason })).toBe(0);
    expect(sampleValue(text, "portolan_map_entries", { map: "pt_frontends" })).toBe(programmer?.fill.frontends.used);
    expect(sampleValue(text, "portolan_map_capacity", { map: "pt_backends" })).toBe(programmer?.fill.backends.capacity);
    const open = (service: string, namespace: string) =>
      sampleValue(text, "portolan_service_connections", { namespace, service });
    expect([open("early", "default"), open("", "")]).toEqual([1, 0]);
    expect(sampleValue(text, "portolan_socket_verdicts_total", { verdict: "connect" })).toBeGreaterThanOrEqual(1);
    expect(sampleValue(text, "portolan_source_missed_events_total")).toBe(0);
    expect(sampleValue(text, "portolan_source_connected")).toBe(1);
    expect(sampleValue(text, "portolan_state_age_seconds")).toBeLessThan(60);
    expect(Date.now() / 1_000 - (sampleValue(text, "portolan_last_event_timestamp_seconds") ?? 0)).toBeLessThan(60);
    expect(sampleValue(text, "portolan_build_info", { version: report?.version ?? "" })).toBe(1);
    expect(sampleValue(text, "portolan_event_loop_delay_max_seconds")).toBeGreaterThan(0);
  } finally {
    await caller.stop("SIGKILL");
  }
});
