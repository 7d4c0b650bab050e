// SPDX-License-Identifier: Apache-2.0
// Versions that go back: a backup put back under the API server, a stream that tells things twice or out of order. What
// was known of before then says nothing, and everything is listed again.

import { expect, test } from "vitest";
import { type ApiObject, FaultApiServer } from "../../support/api-server.ts";
import { service, slice } from "./objects.ts";
import { reflectorWorld } from "./reflector-world.ts";

const world = reflectorWorld();

const event = (type: string, object: ApiObject, version: number): string =>
  `${JSON.stringify({ type, object: { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } } })}\n`;

/** The server is away for so long that both kinds have noticed: neither waits longer for its first try than the other for six. */
async function goAway(): Promise<void> {
  world.server.refusing = true;
  world.server.dropConnections();
  await world.sink.until(() => world.counter("unreachable") >= 6);
}

/** The server goes, and one with another storage comes back in its place. */
async function comeBack(version: number, fill: (server: FaultApiServer) => void): Promise<void> {
  const { port } = world.server;
  await world.server.stop();
  world.server = await FaultApiServer.start({ port, version });
  fill(world.server);
}

test("a server that comes back with an older state and has nothing to tell of our version: listed again", async () => {
  world.server.bookmark("services");
  await world.startSynced();
  await world.expectLive();
  await comeBack(10, (server) => {
    server.put("services", service("web", "10.96.0.77"));
    server.put("endpointslices", slice("web-1", ["10.0.0.1"]));
  });
  await world.sink.until(() => world.web === "10.96.0.77" && !world.sink.services.has("shop/api"));
  await world.sink.until(() => world.sink.slices.get("shop/web-1")?.count === 1);
  expect(world.counter("missed_events")).toBe(0);
  await world.expectLive();
});

test("a server that was away is asked for its version first: what went back is known at once", async () => {
  await world.startSynced();
  world.server.jump(100);
  await world.expectLive();
  await goAway();
  await comeBack(10, (server) => server.put("services", service("web", "10.96.0.77")));
  // And so soon is past our version that no watch of it is ever silent.
  world.server.intercept = ({ kind }) => {
    if (kind === "watch") world.server.jump(500);
    return false;
  };
  await world.sink.until(() => world.web === "10.96.0.77" && !world.sink.services.has("shop/api"));
  expect(world.counter("idle_timeouts")).toBe(0);
  await world.expectLive();
});

test("an object of the same version as before, and other content", async () => {
  await world.startSynced();
  await comeBack(100, (server) => {
    server.put("services", service("web", "10.96.0.77")); // 101, as at first
  });
  await world.sink.until(() => world.web === "10.96.0.77" && !world.sink.services.has("shop/api"));
  await world.expectLive();
});

/** A backup is put back, and its history goes on past our version before we are back: what was 101 is another 101. */
async function overtake(): Promise<void> {
  await goAway();
  await comeBack(100, (server) => {
    server.put("services", service("web", "10.96.0.77")); // 101, as at first
    server.put("services", service("untold", "10.96.0.78"));
    server.jump(500);
  });
}

test("a history that has overtaken ours: found soon after the server was away, also what has an old version anew", async () => {
  world.setClock(200);
  await world.startSynced({ compareMs: 36_000_000 });
  await overtake();
  const passing = setInterval(() => world.server.bookmark("services"), 100);
  await world.sink.until(() => world.sink.services.has("shop/untold")).finally(() => clearInterval(passing));
  await world.sink.until(() => world.web === "10.96.0.77" && !world.sink.services.has("shop/api"));
  await world.expectLive();
});

test("a list that shows what the watch should have told is doubted, and asked for again without trust in versions", async () => {
  await world.startSynced();
  await overtake();
  world.server.compact();
  await world.sink.until(() => world.web === "10.96.0.77");
  expect([world.counter("missed_events"), world.counter("comparisons")]).toEqual([1, 0]);
  await world.expectLive();
  expect(world.counter("relists")).toBe(3); // of one kind twice
});

test("an event told a second time, after what came later: it does not count, everything is listed again", async () => {
  await world.startSynced();
  const before = world.server.version;
  world.server.put("services", service("web", "10.96.0.70"));
  world.server.put("services", service("web", "10.96.0.71"));
  await world.sink.until(() => world.web === "10.96.0.71");
  const told = world.sink.log.length;
  world.server.write("services", event("MODIFIED", service("web", "10.96.0.70"), before + 1));
  await world.sink.until(() => world.counter("relists") === 1);
  await world.expectLive();
  expect(world.sink.log.slice(told)).toEqual(["+service shop/web"]);
  expect(world.counter("versions_went_back")).toBe(1);
});

test("a deletion that comes after what came later: nothing that is there goes", async () => {
  await world.startSynced();
  const { version } = world.server;
  world.server.jump(10);
  await world.expectLive();
  world.server.write("services", event("DELETED", service("api"), version));
  await world.sink.until(() => world.counter("relists") === 1);
  await world.expectLive();
  expect(world.deletions).toEqual([]);
});

test.each([
  ["a deletion", "DELETED", "10.96.0.70"],
  ["a change", "MODIFIED", "10.96.0.71"],
])("%s among the initial events that is older than the object they showed does not count", async (_, type, address) => {
  await world.startSynced();
  const { version } = world.server;
  world.server.put("services", service("web", "10.96.0.70"));
  await world.sink.until(() => world.web === "10.96.0.70");
  const told: unknown[] = [];
  const tell = world.sink.service.bind(world.sink);
  world.sink.service = (key, object) => {
    if (key === "shop/web") told.push(object?.clusterIps[0]);
    tell(key, object);
  };
  let streams = 0;
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch-list" || resource !== "services" || ++streams > 1) return false;
    response.writeHead(200, { "Content-Type": "application/json" });
    response.write(event("ADDED", service("web", "10.96.0.70"), version + 1));
    response.write(event("ADDED", service("api", "10.96.0.2"), 102));
    response.write(event(type, service("web", address), version));
    const ended = { "k8s.io/initial-events-end": "true" };
    response.write(event("BOOKMARK", { metadata: { name: "", annotations: ended } }, version + 1));
    return true;
  };
  world.server.compact(() => {});
  world.server.endWatches("services");
  await world.sink.until(() => streams === 2);
  await world.expectLive();
  expect(new Set(told)).toEqual(new Set(["10.96.0.70", world.web]));
  expect(world.counter("missed_events")).toBe(0);
});

test("a bookmark that goes back: listed again, once", async () => {
  await world.startSynced();
  await world.expectLive();
  world.server.write("services", event("BOOKMARK", { metadata: { name: "" } }, 3));
  await world.sink.until(() => world.counter("relists") === 1);
  await world.expectLive();
  expect(world.counter("versions_went_back")).toBe(1);
});

test("the same event twice in a row is one", async () => {
  await world.startSynced();
  await world.expectLive();
  world.server.write("services", event("MODIFIED", service("web", world.web), world.server.version));
  await world.expectLive();
  expect(world.counter("relists")).toBe(0);
});

test("streams that always go back: listed at the pace of a storm, and what the lists say counts", async () => {
  await world.startSynced();
  let watches = 0;
  world.server.intercept = ({ kind, resource }, response) => {
    if (resource !== "services" || kind === "list") return false;
    if (kind === "watch-list") return false;
    watches++;
    response.writeHead(200).write(event("MODIFIED", service("web", "10.96.0.1"), 1));
    return true;
  };
  const startMs = world.clock.now();
  world.server.endWatches("services");
  await world.sink.until(() => watches >= 5);
  expect(watches / (world.clock.now() - startMs)).toBeLessThan(5 / 5_000);
  world.server.intercept = null;
});
