// SPDX-License-Identifier: Apache-2.0
// The reflectors against servers, networks and streams that fail in every way real ones were seen to: nothing is lost,
// nothing is deleted that is there, and nobody is hammered.

import { expect, test } from "vitest";
import { errorLine, FaultApiServer, sendStatus } from "../../support/api-server.ts";
import { service } from "./objects.ts";
import { fill, reflectorWorld } from "./reflector-world.ts";

const world = reflectorWorld();

test("LIST or watch-list 500: tried again for ever, in growing steps, and says why", async () => {
  world.server.intercept = (_, response) => {
    sendStatus(response, 500, "etcdserver: no leader");
    return true;
  };
  const started = await world.start();
  await world.sink.until(() => world.server.requests.length >= 8);
  expect(started.status()).toMatchObject({
    state: "starting",
    reason: expect.stringContaining("500 etcdserver: no leader"),
  });
  world.server.intercept = null;
  await world.sink.until(() => world.sink.completed);
  await world.expectLive();
});

test("an error whose text never ends is one all the same", async () => {
  world.server.intercept = ({ resource }, response) => {
    if (resource !== "services") return false;
    response.writeHead(500, { "Content-Length": "1000" }).write("half of a sen");
    return true;
  };
  const started = await world.start();
  await world.sink.until(() => world.server.count("watch-list", "services") >= 2);
  expect(started.status()).toMatchObject({ state: "starting", reason: expect.stringContaining("500 half of a sen") });
  world.server.intercept = null;
  await world.sink.until(() => world.sink.completed);
  await world.expectLive();
});

test("watch 500 after a watch that was well: the steps grow all the same, then the same version goes on", async () => {
  await world.startSynced();
  await world.expectLive();
  let refusals = 0;
  world.server.intercept = ({ kind }, response) => {
    if (kind !== "watch") return false;
    refusals++;
    sendStatus(response, 500, "etcdserver: no leader");
    return true;
  };
  world.server.endWatches("services");
  await world.sink.until(() => refusals >= 7);
  expect(world.clock.waits.filter((ms) => ms > 12_000 && ms < 30_000).length).toBeGreaterThan(0);
  world.server.intercept = null;
  await world.expectLive();
  expect(world.server.count("watch-list")).toBe(2);
});

test("429 with Retry-After is waited out", async () => {
  let refusals = 0;
  world.server.intercept = ({ resource }, response) => {
    if (resource !== "services" || refusals++ > 0) return false;
    sendStatus(response, 429, "slow down", { "Retry-After": "7" });
    return true;
  };
  await world.startSynced();
  const [first, second] = world.server.requests
    .filter(({ resource }) => resource === "services")
    .map(({ atMs }) => atMs);
  expect((second ?? 0) - (first ?? 0)).toBeGreaterThan(7_000);
  expect((second ?? 0) - (first ?? 0)).toBeLessThan(14_000);
});

test("a reset in the middle of a watch: resumed from the last version, nothing lost, nothing deleted", async () => {
  await world.startSynced();
  for (let round = 0; round < 5; round++) {
    world.server.resetWatches();
    world.server.put("services", service(`new-${round}`, `10.96.2.${round + 1}`));
    await world.sink.until(() => world.sink.services.has(`shop/new-${round}`) && world.server.openWatches === 2);
  }
  expect(world.server.count("watch-list")).toBe(2);
  expect(world.counter("resets")).toBeGreaterThanOrEqual(5);
  // From the last version, not an older one: nothing is told twice.
  expect(new Set(world.sink.log).size).toBe(world.sink.log.length);
  expect(world.deletions).toEqual([]);
});

test("a malformed line is stream corruption: resumed before it, so the event is not lost", async () => {
  await world.startSynced();
  world.server.write("services", '{"type":"ADDED","object":{"metadata":{"name":"br\n');
  await world.sink.until(() => world.counter("corrupt_lines") === 1 && world.server.openWatches === 2);
  await world.expectLive();
  expect(world.server.count("watch-list")).toBe(2);
  expect(world.deletions).toEqual([]);
});

test.each([
  ["an event without an object", '{"type":"ADDED"}\n'],
  ["an unknown type", '{"type":"SURPRISE","object":{}}\n'],
  ["a number", "17\n"],
  ["null", "null\n"],
  ["binary", Buffer.from([0, 255, 254, 0x0a])],
])("%s in the stream is survived", async (_, bytes) => {
  await world.startSynced();
  world.server.write("services", bytes);
  await world.sink.until(() => world.counter("corrupt_lines") === 1);
  await world.expectLive();
});

test("ERROR events of code 500, three in a row: a relist", async () => {
  let events = 0;
  await world.startSynced();
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || ++events > 3) return false;
    response.end(errorLine(500, "internal error"));
    return true;
  };
  world.server.endWatches("services");
  await world.sink.until(() => world.server.count("watch-list", "services") === 2);
  expect(events).toBeLessThanOrEqual(3);
  await world.expectLive();
});

test("a line of more than 8 MiB: dropped, the connection too, without keeping it in memory", async () => {
  await world.startSynced();
  const piece = Buffer.alloc(1 << 20, 0x61);
  let sent = 0;
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || sent > 0) return false;
    response.writeHead(200);
    const more = () => {
      for (let room = true; room && sent < 512 && !response.destroyed; sent++) room = response.write(piece);
      if (sent < 512 && !response.destroyed) response.once("drain", more);
    };
    more();
    return true;
  };
  world.server.endWatches("services");
  await world.sink.until(() => world.counter("oversized_lines") === 1);
  // The socket's buffers on both sides hold some; the rest was never read.
  expect(sent).toBeLessThan(256);
  await world.expectLive();
});

test("a watch that falls silent is found within 90 s and resumed", async () => {
  await world.startSynced();
  let frozen = 0;
  const startMs = world.clock.now();
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || frozen++ > 0) return false;
    response.writeHead(200);
    response.flushHeaders();
    return true;
  };
  world.server.endWatches("services");
  await world.sink.until(() => frozen > 0);
  world.server.put("services", service("late", "10.96.0.9"));
  await world.sink.until(() => world.sink.services.has("shop/late"));
  expect(world.counter("idle_timeouts")).toBeGreaterThanOrEqual(1);
  expect(world.clock.now() - startMs).toBeLessThan(90_000);
  expect(world.deletions).toEqual([]);
});

test("a server that accepts and never answers is given up after 30 s", async () => {
  world.server.intercept = () => true;
  const started = await world.start();
  await world.sink.until(() => world.counter("unreachable") > 0);
  expect(started.status().reason).toContain("no answer in 30 s");
  world.server.intercept = null;
  await world.sink.until(() => world.sink.completed);
});

test("watches that end cleanly at once, again and again: not hammered, and events come soon", async () => {
  await world.startSynced();
  const ends: number[] = [];
  world.server.intercept = ({ kind, resource, atMs }, response) => {
    if (kind !== "watch" || resource !== "services") return false;
    ends.push(atMs);
    response.end();
    return true;
  };
  world.server.endWatches("services");
  await world.sink.until(() => ends.length >= 8);
  const longest = Math.max(...world.clock.waits.filter((ms) => ms < 20_000));
  expect(longest).toBeGreaterThan(5_000);
  expect(longest).toBeLessThan(9_600);
  expect((ends.at(-1) ?? 0) - (ends[0] ?? 0)).toBeGreaterThan(15_000);
  world.server.intercept = null;
  await world.expectLive();
});

test("the API server away: says so, waits, and goes on when it is back; what was known stays", async () => {
  const { port } = world.server;
  const started = await world.startSynced();
  await world.server.stop();
  await world.sink.until(() => started.status().state === "disconnected");
  await world.sink.until(() => (started.status().reason ?? "").includes("connection refused"));
  await world.clock.pass(200_000);
  const waits = world.clock.waits.filter((ms) => ms >= 30_000 && ms < 60_000);
  expect(waits.length).toBeGreaterThan(0);
  expect(world.sink.services.size).toBe(2);
  const revived = await FaultApiServer.start({ port, version: 1_000 });
  try {
    revived.put("services", service("web", "10.96.0.42"));
    await world.sink.until(() => world.web === "10.96.0.42");
    await world.sink.until(() => started.status().state === "synced");
  } finally {
    world.server = revived;
  }
});

test("half an hour away: at most a request every twenty seconds of each reflector, and back within a minute", async () => {
  world.setClock(500, Math.random);
  const { port } = world.server;
  const started = await world.startSynced();
  await world.server.stop();
  await world.sink.until(() => world.counter("unreachable") > 0);
  const before = world.counter("unreachable");
  await world.clock.pass(1_800_000);
  const perSecond = (world.counter("unreachable") - before) / 1_800 / 2;
  console.log(`30 min away: ${perSecond.toFixed(4)} requests a second and reflector (bar 0.05)`);
  expect(perSecond).toBeLessThanOrEqual(0.05);
  expect(world.sink.services.size).toBe(2);
  world.server = await FaultApiServer.start({ port, version: 1_000 });
  fill(world.server);
  // The last six of the sixty seconds are for answers: let them have the time.
  world.clock.factor = 25;
  const backMs = world.clock.now();
  await world.sink.until(() => started.status().state === "synced");
  const seconds = (world.clock.now() - backMs) / 1_000;
  console.log(`back after ${seconds.toFixed(1)} s (bar 60)`);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(world.deletions).toEqual([]);
});

test("away from the start: starting, with the reason, until it comes", async () => {
  const { port } = world.server;
  await world.server.stop();
  const started = await world.start();
  await world.sink.until(() => started.status().reason !== null);
  expect(started.status()).toMatchObject({
    state: "starting",
    peer: null,
    reason: expect.stringContaining("connection refused"),
  });
  world.server = await FaultApiServer.start({ port });
  world.server.put("services", service("web"));
  await world.sink.until(() => world.sink.completed);
});

test("two servers, the first dead: the second is asked at once", async () => {
  const dead = await FaultApiServer.start();
  await dead.stop();
  await world.start([`http://127.0.0.1:${dead.port}`]);
  await world.sink.until(() => world.sink.completed);
  expect(world.source?.status()).toMatchObject({ state: "synced", peer: world.server.url });
  expect(world.clock.waits.filter((ms) => ms < 2_000)).toEqual([]);
});

test("two servers, the one in use dies: the other goes on from the same version", async () => {
  const other = await FaultApiServer.start();
  fill(other);
  await world.start([other.url]);
  await world.sink.until(() => world.sink.completed && other.openWatches === 2);
  await other.stop();
  await world.sink.until(() => world.server.openWatches === 2);
  expect(world.server.count("watch-list")).toBe(0);
  await world.expectLive();
  expect(world.deletions).toEqual([]);
});

test("1,000 reconnects leave no socket, no timer and no relist behind", async () => {
  world.setClock(undefined, () => 0);
  await world.startSynced();
  const sockets = world.server.openSockets;
  let left = 1000;
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || left-- <= 0) return false;
    response.end(
      `${JSON.stringify({ type: "MODIFIED", object: { ...service("web"), metadata: { name: "web", namespace: "shop" } } })}\n`,
    );
    return true;
  };
  const pending = world.clock.pending;
  world.server.endWatches("services");
  await world.sink.until(() => left <= 0 && world.server.openWatches === 2, 240_000);
  expect(Math.abs(world.server.openSockets - sockets)).toBeLessThanOrEqual(2);
  expect(Math.abs(world.clock.pending - pending)).toBeLessThanOrEqual(2);
  expect(world.server.connections).toBeLessThan(12);
  expect(world.server.count("watch-list")).toBe(2);
}, 300_000);

test("a connection that the server closed while idle: asked once more, at once, on a new one", async () => {
  world.server.watchList = "refused";
  world.server.pageSize = 1;
  let cut = 0;
  world.server.intercept = ({ query }, response) => {
    if (!query.has("continue") || cut++ > 0) return false;
    response.socket?.resetAndDestroy();
    return true;
  };
  await world.startSynced();
  expect(cut).toBe(2);
  expect(world.server.count("list", "services")).toBe(3);
  expect(world.counter("unreachable")).toBe(0);
});

test("stop ends everything: in a watch, in a backoff, before the first answer", async () => {
  const started = await world.startSynced();
  await started.stop();
  await world.sink.until(() => world.server.openSockets === 0);
  expect(world.clock.pending).toBe(0);
  const calls = world.sink.log.length;
  world.server.put("services", service("later", "10.96.0.50"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(world.sink.log).toHaveLength(calls);

  world.server.intercept = () => true;
  const waiting = await world.start();
  await world.sink.until(() => world.server.requests.length > 2);
  await waiting.stop();

  await world.server.stop();
  const backing = await world.start();
  await world.sink.until(() => backing.status().reason !== null);
  await backing.stop();
  expect(world.clock.pending).toBe(0);
  world.server = await FaultApiServer.start();
});
