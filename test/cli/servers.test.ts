// SPDX-License-Identifier: Apache-2.0
// The servers of a running agent: where they listen, what happens when a port is taken, how the health checks of Services
// follow them, and that a scrape of a big cluster holds nobody up.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import { command, type Daemon, eventually } from "../support/daemon.ts";
import { parseExposition, sampleValue } from "../support/exposition.ts";
import { askRaw } from "../support/raw-http.ts";
import { ANSWER, Bed, logLines, service, slice } from "./bed.ts";

const HEALTH = 10_256;
const METRICS = 10_249;

let bed: Bed;

beforeEach(async () => {
  bed = await Bed.create();
});
afterEach(() => bed?.remove());

/** A flag that names a configuration file with these settings. */
function configured(settings: object): string {
  const file = join(bed.dir, "config.json");
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: "portolan.io/v1alpha1", kind: "PortolanConfiguration", ...settings }),
  );
  return `--config=${file}`;
}

/** Status line, headers and body, or the errno. */
async function ask(port: number, line: string, { host = "127.0.0.1", headers = [] as string[], body = "" } = {}) {
  const [answer = ""] = await askRaw(bed.host, [{ host, port, line, headers, body }]);
  return answer;
}

const bodyOf = (answer: string): string => answer.split("\r\n\r\n").slice(1).join("\r\n\r\n");

const report = async (): Promise<AgentReport> => (await bed.json<{ agent: AgentReport }>("status")).agent;

async function ports(): Promise<string[]> {
  const lines = await command(["ss", "-Hltn"], bed.host);
  return lines.split("\n").flatMap((line) => line.trim().split(/\s+/)[3] ?? []);
}

/** Holds a port of the node until it is stopped. */
const hold = (port: number): Promise<Daemon> => bed.daemon([process.execPath, "-e", ANSWER, String(port), ""]);

test("by default both are there, health for everybody, metrics for this machine; both go with the agent", async () => {
  bed.manifest("none.yaml");
  const { agent } = await bed.synced();
  expect((await report()).servers).toEqual({ health: "0.0.0.0:10256", metrics: "127.0.0.1:10249", serviceChecks: 0 });
  expect((await ports()).sort()).toEqual(["*:10256", "127.0.0.1:10249"]);
  // No Node object can speak against a folder of manifests.
  expect(await ask(HEALTH, "GET /healthz", { host: "10.77.0.1" })).toMatch(/^HTTP\/1.1 200 /);
  expect(await ask(HEALTH, "GET /livez", { host: "fd00:77::1" })).toMatch(/^HTTP\/1.1 200 /);
  expect(await ask(METRICS, "GET /proxyMode")).toMatch(/\r\n\r\nportolan$/);
  expect(await ask(METRICS, "GET /healthz", { host: "10.77.0.1" })).toBe("ECONNREFUSED");
  expect(await ask(METRICS, "GET /debug/pprof/profile?seconds=0")).toMatch(/^HTTP\/1.1 404 /);
  await agent.stop("SIGTERM");
  expect(await ports()).toEqual([]);
});

test("the health server can be left out, the metrics server take any port", async () => {
  bed.manifest("none.yaml");
  await bed.synced([configured({ healthzBindAddress: "none", metricsBindAddress: "127.0.0.1:0" })]);
  const { health, metrics } = (await report()).servers;
  expect(health).toBe(null);
  expect(metrics).toMatch(/^127\.0\.0\.1:[1-9]\d+$/);
  expect(await ports()).toEqual([metrics]);
  expect(await ask(Number(metrics?.split(":")[1]), "GET /healthz")).toMatch(/\r\n\r\nok$/);
});

test("ports that are taken hinder nothing, and are had as soon as they are free", async () => {
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  const held = [await hold(12_256), await hold(METRICS)];
  const flag = configured({ healthzBindAddress: "10.77.0.1:12256" });
  const { agent } = await bed.synced([flag]);
  expect((await report()).servers).toMatchObject({ health: null, metrics: null });
  const reasons = logLines(agent)
    .filter(({ level }) => level === "error")
    .map(({ reason }) => reason);
  // Each is said at each try.
  expect([...new Set(reasons)]).toEqual([
    "listen tcp 10.77.0.1:12256: bind: address already in use",
    "listen tcp 127.0.0.1:10249: bind: address already in use",
  ]);
  for (const holder of held) await holder.stop("SIGKILL");
  await eventually("both listen", async () => {
    const { health, metrics } = (await report()).servers;
    return health === "10.77.0.1:12256" && metrics === "127.0.0.1:10249" ? true : undefined;
  });
  expect(await ask(12_256, "GET /livez", { host: "10.77.0.1" })).toMatch(/^HTTP\/1.1 200 /);
});

test("bindAddressHardFail: a port that is taken ends the agent with status 1", async () => {
  bed.manifest("none.yaml");
  await hold(METRICS);
  const agent = bed.run([configured({ bindAddressHardFail: true })]);
  expect(await agent.exited).toEqual({ code: 1, signal: null });
  expect(agent.log()).toContain("portolan: listen tcp 127.0.0.1:10249: bind: address already in use\n");
  expect(agent.log()).not.toContain("    at ");
});

const balanced = (port: number, more: object = {}): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "balanced", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    externalTrafficPolicy: "Local",
    healthCheckNodePort: port,
    clusterIP: "10.96.0.90",
    clusterIPs: ["10.96.0.90", "fd00:96::90"],
    ports: [{ protocol: "TCP", port: 80 }],
    ...more,
  },
});

const endpoints = (...addresses: string[]): object => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "balanced-0", namespace: "default", labels: { "kubernetes.io/service-name": "balanced" } },
  addressType: "IPv4",
  ports: [{ name: "", protocol: "TCP", port: 8080 }],
  endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node1", conditions: { ready: true } })),
});

const weight = (answer: string): string =>
  `${answer.slice(9, 12)} ${/^X-Load-Balancing-Endpoint-Weight: (\d+)/m.exec(answer)?.[1]}`;

/** Asks until the answer is this one. */
async function says(port: number, expected: string, host = "127.0.0.1"): Promise<void> {
  await eventually(`${host}:${port} says ${expected}`, async () => {
    const answer = await ask(port, "GET /", { host });
    return (answer.startsWith("HTTP") ? weight(answer) : answer) === expected ? true : undefined;
  });
}

test("a Service's health check follows its port, its endpoints and its policy", async () => {
  bed.manifest("balanced.yaml", balanced(30_001), endpoints("10.1.0.1", "10.1.0.2"));
  await bed.synced();
  await says(30_001, "200 2");
  await says(30_001, "503 0", "::1");
  expect((await ports()).filter((address) => address.endsWith(":30001")).sort()).toEqual([
    "0.0.0.0:30001",
    "[::]:30001",
  ]);
  bed.manifest("balanced.yaml", balanced(30_001), endpoints("10.1.0.1"));
  await says(30_001, "200 1");
  bed.manifest("balanced.yaml", balanced(30_001));
  await says(30_001, "503 0");
  bed.manifest("balanced.yaml", balanced(30_002), endpoints("10.1.0.1"));
  await says(30_002, "200 1");
  expect(await ask(30_001, "GET /")).toBe("ECONNREFUSED");
  expect((await report()).servers.serviceChecks).toBe(1);
  bed.manifest("balanced.yaml", balanced(30_002, { externalTrafficPolicy: "Cluster" }), endpoints("10.1.0.1"));
  await says(30_002, "ECONNREFUSED");
  bed.manifest("balanced.yaml", balanced(30_003), endpoints("10.1.0.1"));
  await says(30_003, "200 1");
  bed.manifest("balanced.yaml");
  await says(30_003, "ECONNREFUSED");
});

test("two Services that swap their ports have them at once", async () => {
  const other = (port: number): object => {
    const { metadata: _, ...rest } = balanced(port, { clusterIP: "10.96.0.91", clusterIPs: ["10.96.0.91"] }) as {
      metadata: object;
    };
    return { ...rest, metadata: { name: "other", namespace: "default" } };
  };
  bed.manifest("both.yaml", balanced(30_001), endpoints("10.1.0.1"), other(30_002));
  const { agent } = await bed.synced();
  await says(30_001, "200 1");
  await says(30_002, "503 0");
  bed.manifest("both.yaml", balanced(30_002), endpoints("10.1.0.1"), other(30_001));
  await says(30_002, "200 1");
  await says(30_001, "503 0");
  expect(logLines(agent).filter(({ level }) => level === "error")).toEqual([]);
});

test("on the addresses where NodePorts answer; one that is taken closes the family's others, until the next sync", async () => {
  await command(["ip", "addr", "add", "10.78.0.1/24", "dev", "node0"], bed.host);
  bed.manifest("balanced.yaml", balanced(30_001), endpoints("10.1.0.1"));
  const holder = await bed.daemon([
    process.execPath,
    "-e",
    'require("node:net").createServer().listen(30001, "10.78.0.1", () => console.log("ready"))',
  ]);
  const flag = configured({ nodePortAddresses: ["10.77.0.0/16", "10.78.0.0/16"] });
  const { agent } = await bed.synced([flag]);
  await says(30_001, "503 0", "fd00:77::1");
  expect(await ask(30_001, "GET /", { host: "10.77.0.1" })).toBe("ECONNREFUSED");
  const failure = await agent.until("says so", () => logLines(agent).find(({ level }) => level === "error"));
  expect(failure["reason"]).toBe("listen tcp4 10.78.0.1:30001: bind: address already in use");
  await holder.stop("SIGKILL");
  bed.manifest("web.yaml", service("web"));
  await says(30_001, "200 1", "10.77.0.1");
  await says(30_001, "200 1", "10.78.0.1");
  expect(await ask(30_001, "GET /")).toBe("ECONNREFUSED");
});

test("flags and configuration are shown; with profiling the log's level is set and profiles are taken, without a port", async () => {
  bed.manifest("none.yaml");
  const { agent } = await bed.synced([configured({ enableProfiling: true, syncPeriodSec: 17 })]);
  const flags = bodyOf(await ask(METRICS, "GET /flagz")).split("\n");
  expect(flags).toContain("hostname-override: node1");
  expect(flags).toContain(`bpffs: ${bed.bpffs}`);
  expect(bodyOf(await ask(METRICS, "GET /statusz"))).toContain("Paths: /configz /flagz /healthz /metrics /proxyMode\n");
  expect(JSON.parse(bodyOf(await ask(METRICS, "GET /configz")))).toMatchObject({
    "kubeproxy.config.k8s.io": {
      kind: "KubeProxyConfiguration",
      enableProfiling: true,
      iptables: { syncPeriod: "17s" },
    },
  });
  const before = await ports();
  const level = async (body: string) => (await ask(METRICS, "PUT /debug/flags/v", { body })).slice(9, 12);
  expect(await level("9")).toBe("200");
  bed.manifest("web.yaml", service("web"));
  await agent.until("logs debug lines", () => (agent.log().includes('"level":"debug"') ? true : undefined));
  expect(await level("x")).toBe("400");
  const cpu = JSON.parse(bodyOf(await ask(METRICS, "GET /debug/pprof/profile?seconds=0.2"))) as { nodes: unknown[] };
  expect(cpu.nodes.length).toBeGreaterThan(0);
  const heap = JSON.parse(bodyOf(await ask(METRICS, "GET /debug/pprof/heap?seconds=0.2"))) as { head: object };
  expect(heap.head).toMatchObject({ callFrame: { functionName: "(root)" } });
  expect(await ask(METRICS, "GET /debug/pprof/profile?seconds=-1")).toMatch(/^HTTP\/1.1 400 /);
  // Nothing is allocated in no time.
  expect(await ask(METRICS, "GET /debug/pprof/heap?seconds=0")).toMatch(/^HTTP\/1.1 400 /);
  expect(await ports()).toEqual(before);
});

test("a change that cannot be written: ill after two sync periods, for everybody who asks; well when it is gone", async () => {
  bed.manifest("balanced.yaml", balanced(30_001), endpoints("10.1.0.1"));
  const { agent } = await bed.synced([configured({ syncPeriodSec: 1, minSyncPeriodSec: 0 })]);
  await says(30_001, "200 1");
  await command(["bpftool", "map", "freeze", "pinned", join(bed.pins, "maps", "pt_frontends")]);
  const changedMs = performance.now();
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  await agent.until("cannot write", () => (agent.log().includes("not programmed") ? true : undefined));
  const early = (await ask(HEALTH, "GET /livez")).slice(9, 12);
  // Asked in time, unless this machine has let two seconds pass.
  if (performance.now() - changedMs < 2_000) expect(early).toBe("200");
  await says(30_001, "503 1");
  const [livez, healthz] = [await ask(HEALTH, "GET /livez"), await ask(HEALTH, "GET /healthz")];
  expect([livez.slice(9, 12), healthz.slice(9, 12)]).toEqual(["503", "503"]);
  expect(JSON.parse(bodyOf(healthz))).toMatchObject({
    nodeEligible: true,
    healthy: false,
    status: { IPv4: { healthy: false }, IPv6: { healthy: true } },
  });
  expect(bodyOf(await ask(30_001, "GET /"))).toContain('"serviceProxyHealthy": false');
  const text = bodyOf(await ask(METRICS, "GET /metrics"));
  expect(sampleValue(text, "portolan_units_pending", { reason: "write" })).toBe(1);
  const time = (what: string) =>
    sampleValue(text, `kubeproxy_sync_proxy_rules_last_${what}_seconds`, { ip_family: "IPv4" }) ?? Number.NaN;
  expect(time("queued_timestamp")).toBeGreaterThan(time("timestamp"));
  expect(sampleValue(text, "kubeproxy_proxy_livez_total", { code: "503" })).toBe(early === "503" ? 2 : 1);
  bed.manifest("web.yaml");
  await says(30_001, "200 1");
  expect(await ask(HEALTH, "GET /livez")).toMatch(/^HTTP\/1.1 200 /);
});

/**
 * For `node -e`: scrapes a few times, with probes of the agent PID one after the other meanwhile; prints of each time how
 * long its main thread ran at most while a probe waited.
 */
const PROBED_SCRAPES = `
const [pid] = process.argv.slice(1);
const schedstat = "/proc/" + pid + "/task/" + pid + "/schedstat";
const ranMs = () => Number(require("node:fs").readFileSync(schedstat, "utf8").split(" ")[0]) / 1e6;
const http = require("node:http");
const agent = new http.Agent({ keepAlive: true });
const get = (port, path) => new Promise((resolve, reject) => {
  const asked = http.get({ host: "127.0.0.1", port, path, agent }, (answer) => answer.resume().on("end", resolve));
  asked.on("error", reject);
});
(async () => {
  const waits = [];
  for (let i = 0; i < 5; i++) {
    let scraping = true;
    const scrape = get(${METRICS}, "/metrics").then(() => { scraping = false; });
    let longest = 0;
    while (scraping) {
      const before = ranMs();
      await get(${HEALTH}, "/livez");
      longest = Math.max(longest, ranMs() - before);
    }
    await scrape;
    waits.push(longest);
  }
  console.log(JSON.stringify(waits));
  agent.destroy();
})();
`;

test("10,000 Services: a scrape is bounded, and holds nobody up for 100 ms", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => {
    const clusterIp = `10.96.${100 + (i >> 8)}.${i & 255}`;
    const addresses = Array.from({ length: 10 }, (_, n) => `10.${n + 1}.${i >> 8}.${i & 255}`);
    const [made = {}] = slice(`s${i}`, [8080]) as { endpoints: object[] }[];
    const endpoints = addresses.map((address) => ({ addresses: [address], conditions: { ready: true } }));
    return [service(`s${i}`, { clusterIp }), { ...made, endpoints }];
  });
  bed.manifest("many.yaml", ...many.flat());
  const { agent } = await bed.synced();
  const text = bodyOf(await ask(METRICS, "GET /metrics", { headers: ["Connection: close"] }));
  expect(sampleValue(text, "portolan_units")).toBe(10_000);
  expect(text.split("\n").length).toBeLessThan(2_000);
  expect(parseExposition(text).get("portolan_service_connections")?.samples.length).toBe(1);
  const waits = JSON.parse(
    await command([process.execPath, "-e", PROBED_SCRAPES, String(agent.pid)], bed.host),
  ) as number[];
  // A collection of garbage may fall into the one or the other.
  expect(Math.min(...waits), `waits ${waits}`).toBeLessThan(100);
  expect(Math.min(...waits)).toBeGreaterThan(0);
});
