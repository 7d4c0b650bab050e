// SPDX-License-Identifier: Apache-2.0
// The reflectors against an API server that fails in every way real ones were seen to: nothing is lost, nothing is
// deleted that is there, and nobody is hammered. Time runs fifty times faster than on the wall.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KubernetesSource } from "../../../src/source/kubernetes.ts";
import { errorLine, FaultApiServer, type Resource, sendStatus } from "../../support/api-server.ts";
import { kubeconfig, service, slice } from "./objects.ts";
import { RecordingSink } from "./recording-sink.ts";
import { ScaledClock } from "./scaled-clock.ts";

const FACTOR = 50;
let directory: string;
let server: FaultApiServer;
let source: KubernetesSource | null;
let sink: RecordingSink;
let clock: ScaledClock;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), `portolan-reflector-${process.pid}-`));
  server = await FaultApiServer.start();
  server.put("services", service("web"));
  server.put("services", service("api", "10.96.0.2"));
  server.put("endpointslices", slice("web-1", ["10.0.0.1", "10.0.0.2"]));
  sink = new RecordingSink();
  clock = new ScaledClock(FACTOR);
  source = null;
});

afterEach(async () => {
  await source?.stop();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(servers: readonly string[] = []): Promise<KubernetesSource> {
  source = await KubernetesSource.load({
    kubeconfig: kubeconfig(directory, server.url),
    servers,
    stateDir: null,
    clock,
  });
  source.start(sink);
  return source;
}

async function startSynced(): Promise<KubernetesSource> {
  const started = await start();
  await sink.until(() => sink.completed && server.openWatches === 2);
  return started;
}

const counter = (name: string) => source?.status().counters[name] ?? 0;
const deletions = () => sink.log.filter((line) => line.startsWith("-"));
const web = () => sink.services.get("shop/web")?.clusterIps[0];

/** Changes web and waits until it is seen: the proof that the watch lives. */
let changes = 10;
async function expectLive(): Promise<void> {
  const address = `10.96.1.${++changes % 250}`;
  server.put("services", service("web", address));
  await sink.until(() => web() === address);
}

test("watch-list: asked as kube-proxy asks, delivered, synced once a kind, then followed", async () => {
  const started = await startSynced();
  expect([...sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  expect(sink.slices.get("shop/web-1")?.count).toBe(2);
  expect(sink.log.filter((line) => /^(synced|complete)/.test(line)).sort()).toEqual([
    "complete",
    "synced endpointslices",
    "synced services",
  ]);
  expect(sink.log.at(-1)).toBe("complete");
  const [first] = server.requests.filter(({ resource }) => resource === "services");
  expect(Object.fromEntries(first?.query ?? [])).toEqual({
    labelSelector: "!service.kubernetes.io/service-proxy-name",
    fieldSelector: "spec.clusterIP!=None",
    sendInitialEvents: "true",
    resourceVersionMatch: "NotOlderThan",
    watch: "true",
    allowWatchBookmarks: "true",
    timeoutSeconds: "450",
  });
  expect(first?.authorization).toBe("Bearer secret");
  const slices = server.requests.find(({ resource }) => resource === "endpointslices");
  expect(slices?.query.get("labelSelector")).toBe("!service.kubernetes.io/headless");
  expect(slices?.query.has("fieldSelector")).toBe(false);
  expect(started.status()).toMatchObject({ source: "kubernetes", state: "synced", peer: server.url, reason: null });
  await expectLive();
  server.remove("services", "shop/api");
  await sink.until(() => !sink.services.has("shop/api"));
  server.put("endpointslices", slice("web-1", []));
  await sink.until(() => sink.slices.get("shop/web-1")?.count === 0);
  expect(server.requests).toHaveLength(2);
});

test.each(["refused", "unable", "ignored"] as const)("watch-list %s: pages and a watch, remembered", async (how) => {
  server.watchList = how;
  server.pageSize = 1;
  await startSynced();
  await expectLive();
  const watchLists = server.count("watch-list");
  expect(server.count("list", "services")).toBe(2);
  server.compact();
  server.endWatches();
  await sink.until(() => server.count("list", "services") === 4 && server.openWatches === 2);
  expect(server.count("watch-list")).toBe(watchLists);
  await expectLive();
  expect(deletions()).toEqual([]);
});

test("a page token that expires: the list is asked for again, in one response", async () => {
  server.watchList = "refused";
  server.pageSize = 1;
  server.expireTokens = true;
  await startSynced();
  expect([...sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  expect(server.requests.filter(({ kind, query }) => kind === "list" && !query.has("limit"))).toHaveLength(1);
});

test("a field selector that is refused is left out for that server", async () => {
  server.fieldSelectors = false;
  server.put("services", service("headless", "None"));
  await startSynced();
  expect([...sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  const asked = server.requests
    .filter(({ resource }) => resource === "services")
    .map(({ query }) => query.has("fieldSelector"));
  expect(asked).toEqual([true, false]);
});

test("bookmarks move the version to resume from, and a clean end resumes at once", async () => {
  await startSynced();
  await new Promise((resolve) => setTimeout(resolve, 1_100 / FACTOR));
  server.bookmark("services");
  await sink.until(() => counter("bookmarks") >= 3);
  server.compact();
  server.bookmark("services");
  server.bookmark("endpointslices");
  await sink.until(() => counter("bookmarks") >= 5);
  server.endWatches();
  await sink.until(() => server.count("watch") === 2);
  await expectLive();
  expect(counter("gone")).toBe(0);
  expect(counter("relists")).toBe(0);
});

test("LIST or watch-list 500: tried again for ever, in growing steps, and says why", async () => {
  server.intercept = (_, response) => {
    sendStatus(response, 500, "etcdserver: no leader");
    return true;
  };
  const started = await start();
  await sink.until(() => server.requests.length >= 8);
  expect(started.status()).toMatchObject({
    state: "starting",
    reason: expect.stringContaining("500 etcdserver: no leader"),
  });
  server.intercept = null;
  await sink.until(() => sink.completed);
  await expectLive();
});

test("watch 500 after a watch that was well: the steps grow all the same, then the same version goes on", async () => {
  await startSynced();
  await expectLive();
  let refusals = 0;
  server.intercept = ({ kind }, response) => {
    if (kind !== "watch") return false;
    refusals++;
    sendStatus(response, 500, "etcdserver: no leader");
    return true;
  };
  server.endWatches("services");
  await sink.until(() => refusals >= 7);
  expect(clock.waits.filter((ms) => ms > 12_000 && ms < 30_000).length).toBeGreaterThan(0);
  server.intercept = null;
  await expectLive();
  expect(server.count("watch-list")).toBe(2);
});

test("429 with Retry-After is waited out", async () => {
  let refusals = 0;
  server.intercept = ({ resource }, response) => {
    if (resource !== "services" || refusals++ > 0) return false;
    sendStatus(response, 429, "slow down", { "Retry-After": "7" });
    return true;
  };
  await startSynced();
  const [first, second] = server.requests
    .filter(({ resource }) => resource === "services")
    .map(({ atMs }) => atMs * FACTOR);
  expect((second ?? 0) - (first ?? 0)).toBeGreaterThan(7_000);
  expect((second ?? 0) - (first ?? 0)).toBeLessThan(14_000);
});

test("a reset in the middle of a watch: resumed from the last version, nothing lost, nothing deleted", async () => {
  await startSynced();
  for (let round = 0; round < 5; round++) {
    server.resetWatches();
    server.put("services", service(`new-${round}`, `10.96.2.${round + 1}`));
    await sink.until(() => sink.services.has(`shop/new-${round}`) && server.openWatches === 2);
  }
  expect(server.count("watch-list")).toBe(2);
  expect(counter("resets")).toBeGreaterThanOrEqual(5);
  // From the last version, not an older one: nothing is told twice.
  expect(new Set(sink.log).size).toBe(sink.log.length);
  expect(deletions()).toEqual([]);
});

test("410 as a status: mark and sweep, the old state goes on, only what is gone is deleted, once", async () => {
  await startSynced();
  server.compact(() => {
    server.remove("services", "shop/api");
    server.put("services", service("new", "10.96.0.3"));
  });
  sink.log.length = 0;
  server.endWatches();
  await sink.until(() => !sink.services.has("shop/api"));
  // What did not change is not told again.
  expect(sink.log).toEqual(["+service shop/new", "-service shop/api"]);
  expect(counter("relists")).toBe(2);
  expect(counter("missed_events")).toBe(0);
});

test("410 as an ERROR event is the same", async () => {
  await startSynced();
  server.compact(() => server.remove("services", "shop/api"));
  server.write("services", errorLine(410, "too old resource version"));
  await sink.until(() => !sink.services.has("shop/api"));
  expect(deletions()).toEqual(["-service shop/api"]);
  expect(counter("gone")).toBe(1);
});

test("a relist that breaks off deletes nothing", async () => {
  await startSynced();
  let broken = 0;
  server.intercept = ({ resource, kind }, response) => {
    if (resource !== "services" || kind !== "watch-list" || ++broken > 1) return false;
    response.writeHead(200);
    response.write(`${JSON.stringify({ type: "ADDED", object: service("web", "10.96.0.77") })}\n`);
    setTimeout(() => response.socket?.resetAndDestroy(), 5);
    return true;
  };
  server.compact(() => server.remove("services", "shop/api"));
  server.endWatches("services");
  await sink.until(() => web() === "10.96.0.77");
  expect(deletions()).toEqual([]);
  await sink.until(() => !sink.services.has("shop/api"));
});

test.each(["status", "event"] as const)(
  "permanent 410 as %s: at most 6 lists in 10 s, 2 a minute after, no endpoint withdrawn",
  async (how) => {
    server.intercept = ({ kind }, response) => {
      if (kind !== "watch") return false;
      if (how === "status") sendStatus(response, 410, "too old");
      else response.end(errorLine(410, "too old"));
      return true;
    };
    server.watchList = "refused";
    await start();
    const lists = () => server.requests.filter(({ kind, resource }) => kind === "list" && resource === "services");
    await sink.until(() => lists().length >= 8, 15_000);
    const times = lists().map(({ atMs }) => (atMs - (lists()[0]?.atMs ?? 0)) * FACTOR);
    expect(times.filter((ms) => ms < 10_000).length).toBeLessThanOrEqual(6);
    for (const ms of times.filter((time) => time > 60_000)) {
      expect(times.filter((other) => other >= ms && other < ms + 59_000).length).toBeLessThanOrEqual(2);
    }
    expect(deletions()).toEqual([]);
    expect(sink.services.size).toBe(2);
  },
);

test("a watch-list that is gone at once, each time, is no storm either", async () => {
  server.intercept = ({ kind }, response) => {
    if (kind !== "watch-list") return false;
    response.end(`${JSON.stringify({ type: "ADDED", object: service("web") })}\n${errorLine(410, "too old")}`);
    return true;
  };
  await start();
  await new Promise((resolve) => setTimeout(resolve, 10_000 / FACTOR));
  expect(server.count("watch-list", "services")).toBeLessThanOrEqual(6);
});

test("a malformed line is stream corruption: resumed before it, so the event is not lost", async () => {
  await startSynced();
  server.write("services", '{"type":"ADDED","object":{"metadata":{"name":"br\n');
  await sink.until(() => counter("corrupt_lines") === 1 && server.openWatches === 2);
  await expectLive();
  expect(server.count("watch-list")).toBe(2);
  expect(deletions()).toEqual([]);
});

test.each([
  ["an event without an object", '{"type":"ADDED"}\n'],
  ["an unknown type", '{"type":"SURPRISE","object":{}}\n'],
  ["a number", "17\n"],
  ["null", "null\n"],
  ["binary", Buffer.from([0, 255, 254, 0x0a])],
])("%s in the stream is survived", async (_, bytes) => {
  await startSynced();
  server.write("services", bytes);
  await sink.until(() => counter("corrupt_lines") === 1);
  await expectLive();
});

test("ERROR events of code 500, three in a row: a relist", async () => {
  let events = 0;
  await startSynced();
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || ++events > 3) return false;
    response.end(errorLine(500, "internal error"));
    return true;
  };
  server.endWatches("services");
  await sink.until(() => server.count("watch-list", "services") === 2);
  expect(events).toBeLessThanOrEqual(3);
  await expectLive();
});

test("a line of more than 8 MiB: dropped, the connection too, without keeping it in memory", async () => {
  await startSynced();
  const piece = Buffer.alloc(1 << 20, 0x61);
  let sent = 0;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || sent > 0) return false;
    response.writeHead(200);
    const more = () => {
      while (sent < 64 && !response.destroyed && response.write(piece)) sent++;
      if (sent < 64 && !response.destroyed) response.once("drain", more);
    };
    more();
    return true;
  };
  server.endWatches("services");
  await sink.until(() => counter("oversized_lines") === 1);
  // The socket's buffers on both sides hold some; the rest was never read.
  expect(sent).toBeLessThan(32);
  await expectLive();
});

test("a slice of 1,000 endpoints with long labels is nothing special", async () => {
  await startSynced();
  const addresses = Array.from({ length: 1000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
  const large = slice("large", addresses);
  large.metadata["annotations"] = { note: "x".repeat(256 * 1024) };
  server.put("endpointslices", large);
  await sink.until(() => sink.slices.get("shop/large")?.count === 1000);
});

test("a watch that falls silent is found within 90 s and resumed", async () => {
  await startSynced();
  let frozen = 0;
  const startMs = performance.now();
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || frozen++ > 0) return false;
    response.writeHead(200);
    response.flushHeaders();
    return true;
  };
  server.endWatches("services");
  await sink.until(() => frozen > 0);
  server.put("services", service("late", "10.96.0.9"));
  await sink.until(() => sink.services.has("shop/late"));
  expect(counter("idle_timeouts")).toBeGreaterThanOrEqual(1);
  expect((performance.now() - startMs) * FACTOR).toBeLessThan(97_000);
  expect(deletions()).toEqual([]);
});

test("a server that accepts and never answers is given up after 30 s", async () => {
  server.intercept = () => true;
  const started = await start();
  await sink.until(() => counter("unreachable") > 0);
  expect(started.status().reason).toContain("no answer in 30 s");
  server.intercept = null;
  await sink.until(() => sink.completed);
});

test("watches that end cleanly at once, again and again: not hammered, and events come soon", async () => {
  await startSynced();
  const ends: number[] = [];
  server.intercept = ({ kind, resource, atMs }, response) => {
    if (kind !== "watch" || resource !== "services") return false;
    ends.push(atMs * FACTOR);
    response.end();
    return true;
  };
  server.endWatches("services");
  await sink.until(() => ends.length >= 8);
  const gaps = ends.slice(1).map((ms, i) => ms - (ends[i] ?? 0));
  expect(Math.max(...clock.waits.filter((ms) => ms < 20_000))).toBeLessThan(9_600);
  expect(gaps.at(-1)).toBeGreaterThan(5_000);
  server.intercept = null;
  await expectLive();
});

test("the API server away: says so, waits, and goes on when it is back; what was known stays", async () => {
  const { port } = server;
  const started = await startSynced();
  await server.stop();
  await sink.until(() => started.status().state === "disconnected");
  await sink.until(() => (started.status().reason ?? "").includes("connection refused"));
  await new Promise((resolve) => setTimeout(resolve, 200_000 / FACTOR));
  const waits = clock.waits.filter((ms) => ms >= 30_000 && ms < 60_000);
  expect(waits.length).toBeGreaterThan(0);
  expect(sink.services.size).toBe(2);
  const revived = await FaultApiServer.start({ port, version: 1_000 });
  try {
    revived.put("services", service("web", "10.96.0.42"));
    await sink.until(() => web() === "10.96.0.42");
    await sink.until(() => started.status().state === "synced");
  } finally {
    server = revived;
  }
});

test("away from the start: starting, with the reason, until it comes", async () => {
  const { port } = server;
  await server.stop();
  const started = await start();
  await sink.until(() => started.status().reason !== null);
  expect(started.status()).toMatchObject({
    state: "starting",
    peer: null,
    reason: expect.stringContaining("connection refused"),
  });
  server = await FaultApiServer.start({ port });
  server.put("services", service("web"));
  await sink.until(() => sink.completed);
});

test("two servers, the first dead: the second is asked at once", async () => {
  const dead = await FaultApiServer.start();
  await dead.stop();
  await start([`http://127.0.0.1:${dead.port}`]);
  await sink.until(() => sink.completed);
  expect(source?.status()).toMatchObject({ state: "synced", peer: server.url });
  expect(clock.waits.filter((ms) => ms < 2_000)).toEqual([]);
});

test("two servers, the one in use dies: the other goes on from the same version", async () => {
  const other = await FaultApiServer.start();
  other.put("services", service("web"));
  other.put("services", service("api", "10.96.0.2"));
  other.put("endpointslices", slice("web-1", ["10.0.0.1", "10.0.0.2"]));
  await start([other.url]);
  await sink.until(() => sink.completed && other.openWatches === 2);
  await other.stop();
  await sink.until(() => server.openWatches === 2);
  expect(server.count("watch-list")).toBe(0);
  await expectLive();
  expect(deletions()).toEqual([]);
});

test("an object that cannot be decoded is named and keeps what it was; the others are not touched", async () => {
  await startSynced();
  server.put("services", { metadata: { name: "web", namespace: "shop" }, spec: { clusterIP: 17, ports: [] } });
  server.put("services", service("after", "10.96.0.8"));
  await sink.until(() => sink.services.has("shop/after"));
  expect(web()).toBe("10.96.0.1");
  expect(sink.problemsOf("Service shop/web")).toMatchObject([{ field: "spec.clusterIP" }]);
  expect(counter("rejected_objects")).toBe(1);
  await expectLive();
  expect(sink.problemsOf("Service shop/web")).toEqual([]);
});

test("a sink that throws loses that object only", async () => {
  const broken = sink.service.bind(sink);
  sink.service = (key, object) => {
    if (key === "shop/bad") throw new Error("boom");
    broken(key, object);
  };
  await startSynced();
  server.put("services", service("bad", "10.96.0.6"));
  await expectLive();
  expect(sink.problemsOf("Service shop/bad")).toMatchObject([{ reason: "internal error: boom" }]);
});

test("an object that stops being ours is deleted", async () => {
  await startSynced();
  const ours = service("web");
  ours.metadata["labels"] = { "service.kubernetes.io/service-proxy-name": "other" };
  server.put("services", ours);
  await sink.until(() => !sink.services.has("shop/web"));
});

test("1,000 reconnects leave no socket, no timer and no relist behind", async () => {
  clock = new ScaledClock(FACTOR, () => 0);
  await startSynced();
  const sockets = server.openSockets;
  let left = 1000;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || left-- <= 0) return false;
    response.end(
      `${JSON.stringify({ type: "MODIFIED", object: { ...service("web"), metadata: { name: "web", namespace: "shop" } } })}\n`,
    );
    return true;
  };
  const pending = clock.pending;
  server.endWatches("services");
  await sink.until(() => left <= 0 && server.openWatches === 2, 60_000);
  expect(Math.abs(server.openSockets - sockets)).toBeLessThanOrEqual(2);
  expect(Math.abs(clock.pending - pending)).toBeLessThanOrEqual(2);
  expect(server.connections).toBeLessThan(12);
  expect(server.count("watch-list")).toBe(2);
}, 90_000);

test("a connection that the server closed while idle: asked once more, at once, on a new one", async () => {
  server.watchList = "refused";
  server.pageSize = 1;
  let cut = 0;
  server.intercept = ({ query }, response) => {
    if (!query.has("continue") || cut++ > 0) return false;
    response.socket?.resetAndDestroy();
    return true;
  };
  await startSynced();
  expect(cut).toBe(2);
  expect(server.count("list", "services")).toBe(3);
  expect(counter("unreachable")).toBe(0);
});

test("stop ends everything: in a watch, in a backoff, before the first answer", async () => {
  const started = await startSynced();
  await started.stop();
  await sink.until(() => server.openSockets === 0);
  expect(clock.pending).toBe(0);
  const calls = sink.log.length;
  server.put("services", service("later", "10.96.0.50"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(sink.log).toHaveLength(calls);

  server.intercept = () => true;
  const waiting = await start();
  await sink.until(() => server.requests.length > 2);
  await waiting.stop();

  await server.stop();
  const backing = await start();
  await sink.until(() => backing.status().reason !== null);
  await backing.stop();
  expect(clock.pending).toBe(0);
  server = await FaultApiServer.start();
});

test("an event that the watch left out is found by a relist, and counted", async () => {
  await startSynced();
  const known: Resource = "services";
  server.compact(() => {});
  // Written below the version that the watch has passed.
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch-list" || resource !== known) return false;
    const changed = service("api", "10.96.0.99");
    changed.metadata.resourceVersion = "50";
    const web = service("web");
    web.metadata.resourceVersion = "101";
    response.write(
      `${JSON.stringify({ type: "ADDED", object: changed })}\n${JSON.stringify({ type: "ADDED", object: web })}\n`,
    );
    response.write(
      `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: "900", annotations: { "k8s.io/initial-events-end": "true" } } } })}\n`,
    );
    return true;
  };
  server.endWatches("services");
  await sink.until(() => sink.services.get("shop/api")?.clusterIps[0] === "10.96.0.99");
  expect(counter("missed_events")).toBe(1);
});
