// SPDX-License-Identifier: Apache-2.0
// What a reflector asks and what it makes of the answers: watch-lists, pages, bookmarks, relists, odd objects.

import { expect, test } from "vitest";
import { errorLine, type Resource, sendStatus } from "../../support/api-server.ts";
import { service, slice } from "./objects.ts";
import { reflectorWorld } from "./reflector-world.ts";

const world = reflectorWorld();

test("watch-list: asked as kube-proxy asks, delivered, synced once a kind, then followed", async () => {
  const started = await world.startSynced();
  expect([...world.sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  expect(world.sink.slices.get("shop/web-1")?.count).toBe(2);
  expect(world.sink.log.filter((line) => /^(synced|complete)/.test(line)).sort()).toEqual([
    "complete",
    "synced endpointslices",
    "synced services",
  ]);
  expect(world.sink.log.at(-1)).toBe("complete");
  const [first] = world.server.requests.filter(({ resource }) => resource === "services");
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
  const slices = world.server.requests.find(({ resource }) => resource === "endpointslices");
  expect(slices?.query.get("labelSelector")).toBe("!service.kubernetes.io/headless");
  expect(slices?.query.has("fieldSelector")).toBe(false);
  expect(started.status()).toMatchObject({
    source: "kubernetes",
    state: "synced",
    peer: world.server.url,
    reason: null,
  });
  await world.expectLive();
  world.server.remove("services", "shop/api");
  await world.sink.until(() => !world.sink.services.has("shop/api"));
  world.server.put("endpointslices", slice("web-1", []));
  await world.sink.until(() => world.sink.slices.get("shop/web-1")?.count === 0);
  expect(world.server.requests).toHaveLength(2);
});

test.each([
  [0, "300"],
  [0.999_999, "599"],
])("a watch is asked for between five and ten minutes (chance %d)", async (chance, seconds) => {
  world.setClock(undefined, () => chance);
  await world.startSynced();
  expect(new Set(world.server.requests.map(({ query }) => query.get("timeoutSeconds")))).toEqual(new Set([seconds]));
});

test.each(["refused", "unable", "ignored"] as const)("watch-list %s: pages and a watch, remembered", async (how) => {
  world.server.watchList = how;
  world.server.pageSize = 1;
  await world.startSynced();
  await world.expectLive();
  const watchLists = world.server.count("watch-list");
  expect(world.server.count("list", "services")).toBe(2);
  world.server.compact();
  world.server.endWatches();
  await world.sink.until(() => world.server.count("list", "services") === 4 && world.server.openWatches === 2);
  expect(world.server.count("watch-list")).toBe(watchLists);
  await world.expectLive();
  expect(world.deletions).toEqual([]);
});

test("a page token that expires: the list is asked for again, in one response", async () => {
  world.server.watchList = "refused";
  world.server.pageSize = 1;
  world.server.expireTokens = true;
  await world.startSynced();
  expect([...world.sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  expect(world.server.requests.filter(({ kind, query }) => kind === "list" && !query.has("limit"))).toHaveLength(1);
});

test("a field selector that is refused is left out for that server", async () => {
  world.server.fieldSelectors = false;
  world.server.put("services", service("headless", "None"));
  await world.startSynced();
  expect([...world.sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  const asked = world.server.requests
    .filter(({ resource }) => resource === "services")
    .map(({ query }) => query.has("fieldSelector"));
  expect(asked).toEqual([true, false]);
});

test("bookmarks move the version to resume from, and a clean end resumes at once", async () => {
  await world.startSynced();
  await world.clock.pass(1_100);
  world.server.bookmark("services");
  await world.sink.until(() => world.counter("bookmarks") >= 3);
  world.server.compact();
  world.server.bookmark("services");
  world.server.bookmark("endpointslices");
  await world.sink.until(() => world.counter("bookmarks") >= 5);
  world.server.endWatches();
  await world.sink.until(() => world.server.count("watch") === 2);
  await world.expectLive();
  expect(world.counter("gone")).toBe(0);
  expect(world.counter("relists")).toBe(0);
});

test("410 as a status: mark and sweep, the old state goes on, only what is gone is deleted, once", async () => {
  await world.startSynced();
  world.server.compact(() => {
    world.server.remove("services", "shop/api");
    world.server.put("services", service("new", "10.96.0.3"));
  });
  world.sink.log.length = 0;
  world.server.endWatches();
  // Both kinds are listed anew, in either order.
  await world.sink.until(() => !world.sink.services.has("shop/api") && world.counter("relists") >= 2);
  // What did not change is not told again.
  expect(world.sink.log).toEqual(["+service shop/new", "-service shop/api"]);
  expect(world.counter("relists")).toBe(2);
  expect(world.counter("missed_events")).toBe(0);
});

test("410 as an ERROR event is the same", async () => {
  await world.startSynced();
  world.server.compact(() => world.server.remove("services", "shop/api"));
  world.server.write("services", errorLine(410, "too old resource version"));
  await world.sink.until(() => !world.sink.services.has("shop/api"));
  expect(world.deletions).toEqual(["-service shop/api"]);
  expect(world.counter("gone")).toBe(1);
});

test("a relist that breaks off deletes nothing", async () => {
  await world.startSynced();
  let broken = 0;
  world.server.intercept = ({ resource, kind }, response) => {
    if (resource !== "services" || kind !== "watch-list" || ++broken > 1) return false;
    response.writeHead(200);
    response.write(`${JSON.stringify({ type: "ADDED", object: service("web", "10.96.0.77") })}\n`);
    setTimeout(() => response.socket?.resetAndDestroy(), 5);
    return true;
  };
  world.server.compact(() => world.server.remove("services", "shop/api"));
  world.server.endWatches("services");
  await world.sink.until(() => world.web === "10.96.0.77");
  expect(world.deletions).toEqual([]);
  await world.sink.until(() => !world.sink.services.has("shop/api"));
});

test.each(["status", "event"] as const)(
  "permanent 410 as %s: at most 6 lists in 10 s, 2 a minute after, no endpoint withdrawn",
  async (how) => {
    world.server.intercept = ({ kind }, response) => {
      if (kind !== "watch") return false;
      if (how === "status") sendStatus(response, 410, "too old");
      else response.end(errorLine(410, "too old"));
      return true;
    };
    world.server.watchList = "refused";
    await world.start();
    const lists = () =>
      world.server.requests.filter(({ kind, resource }) => kind === "list" && resource === "services");
    await world.sink.until(() => lists().length >= 8);
    const times = lists().map(({ atMs }) => atMs - (lists()[0]?.atMs ?? 0));
    expect(times.filter((ms) => ms < 10_000).length).toBeLessThanOrEqual(6);
    for (const ms of times.filter((time) => time > 10_000)) {
      expect(times.filter((other) => other >= ms && other < ms + 59_000).length).toBeLessThanOrEqual(2);
    }
    expect(world.deletions).toEqual([]);
    expect(world.sink.services.size).toBe(2);
  },
);

test("a watch-list that is gone at once, each time, is no storm either", async () => {
  world.server.intercept = ({ kind }, response) => {
    if (kind !== "watch-list") return false;
    response.end(`${JSON.stringify({ type: "ADDED", object: service("web") })}\n${errorLine(410, "too old")}`);
    return true;
  };
  await world.start();
  await world.clock.pass(10_000);
  expect(world.server.count("watch-list", "services")).toBeLessThanOrEqual(6);
});

test("a slice of 1,000 endpoints with long labels is nothing special", async () => {
  await world.startSynced();
  const addresses = Array.from({ length: 1000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
  const large = slice("large", addresses);
  large.metadata["annotations"] = { note: "x".repeat(256 * 1024) };
  world.server.put("endpointslices", large);
  await world.sink.until(() => world.sink.slices.get("shop/large")?.count === 1000);
});

test("an object that cannot be decoded is named and keeps what it was; the others are not touched", async () => {
  await world.startSynced();
  world.server.put("services", { metadata: { name: "web", namespace: "shop" }, spec: { clusterIP: 17, ports: [] } });
  world.server.put("services", service("after", "10.96.0.8"));
  await world.sink.until(() => world.sink.services.has("shop/after"));
  expect(world.web).toBe("10.96.0.1");
  expect(world.sink.problemsOf("Service shop/web")).toMatchObject([{ field: "spec.clusterIP" }]);
  expect(world.counter("rejected_objects")).toBe(1);
  await world.expectLive();
  expect(world.sink.problemsOf("Service shop/web")).toEqual([]);
});

test("a sink that throws loses that object only", async () => {
  const deliver = world.sink.service.bind(world.sink);
  world.sink.service = (key, object) => {
    if (key === "shop/bad") throw new Error("boom");
    deliver(key, object);
  };
  await world.startSynced();
  world.server.put("services", service("bad", "10.96.0.6"));
  await world.expectLive();
  expect(world.sink.problemsOf("Service shop/bad")).toMatchObject([{ reason: "internal error: boom" }]);
});

test("an object that stops being ours is deleted", async () => {
  await world.startSynced();
  const ours = service("web");
  ours.metadata["labels"] = { "service.kubernetes.io/service-proxy-name": "other" };
  world.server.put("services", ours);
  await world.sink.until(() => !world.sink.services.has("shop/web"));
});

test("an event that the watch left out is found by a relist, and counted", async () => {
  await world.startSynced();
  const known: Resource = "services";
  world.server.compact(() => {});
  // Written below the version that the watch has passed.
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch-list" || resource !== known) return false;
    const changed = service("api", "10.96.0.99");
    changed.metadata.resourceVersion = "103";
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
  world.server.endWatches("services");
  await world.sink.until(() => world.sink.services.get("shop/api")?.clusterIps[0] === "10.96.0.99");
  await world.sink.until(() => world.counter("missed_events") === 1);
});

test("what another server shows because it does not know our selectors is no missed event", async () => {
  world.server.put("services", service("headless", "None"));
  world.server.hides = ({ metadata }) => metadata.name === "headless";
  await world.startSynced();
  world.server.hides = null;
  world.server.compact();
  world.server.endWatches("services");
  await world.sink.until(() => world.counter("relists") === 1);
  await world.expectLive();
  expect(world.counter("missed_events")).toBe(0);
});
