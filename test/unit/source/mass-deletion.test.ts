// SPDX-License-Identifier: Apache-2.0
// A list that lacks most of what was known: nothing is taken away until a second consistent read says so too, of a server
// of the same cluster. What the list adds or changes counts at once.

import { beforeEach, expect, test } from "vitest";
import type { MassDeletionNotice } from "../../../src/source/reflector.ts";
import { type ApiObject, FaultApiServer, sendStatus } from "../../support/api-server.ts";
import { service, slice } from "./objects.ts";
import { reflectorWorld } from "./reflector-world.ts";

const world = reflectorWorld();
let notices: MassDeletionNotice[];
const watcher = { onMassDeletion: (notice: MassDeletionNotice) => notices.push(notice) };
const states = () => notices.map(({ state }) => state);

beforeEach(() => {
  notices = [];
});

/** Beside shop/web and shop/api: `count` Services in the namespace `many`, and default/kubernetes. */
function stock(server: FaultApiServer, count = 38, uid = "cluster-a"): void {
  const api = service("kubernetes", "10.96.0.1", "default");
  server.put("services", { ...api, metadata: { ...api.metadata, uid } });
  for (let i = 0; i < count; i++) server.put("services", service(`s${i}`, `10.96.9.${i + 1}`, "many"));
}

const isMany = (object: ApiObject) => object.metadata.namespace === "many";

test("half of the Services missing from a list: held, refuted by the second read, nothing deleted", async () => {
  stock(world.server);
  const started = await world.startSynced({ watcher });
  let said: string | null = null;
  world.server.intercept = ({ kind, resource }) => {
    if (resource !== "services") return false;
    if (kind === "list") said = started.status().reason;
    world.server.hides = kind === "watch-list" ? isMany : null;
    return false;
  };
  world.server.compact();
  world.server.endWatches("services");
  await world.sink.until(() => states().length === 2);
  expect(said).toMatch(/lacks 38 of 41 objects/);
  expect(notices).toEqual([
    { resource: "/api/v1/services", server: world.server.url, state: "held", missing: 38, of: 41 },
    { resource: "/api/v1/services", server: world.server.url, state: "refuted", missing: 38, of: 41 },
  ]);
  // The second read goes to the storage: it names no version.
  const confirming = world.server.requests.filter(({ kind, resource }) => kind === "list" && resource === "services");
  expect(confirming.map(({ query }) => query.get("resourceVersion"))).toEqual([null]);
  await world.expectLive();
  expect(world.deletions).toEqual([]);
  expect(started.status()).toMatchObject({ state: "synced", reason: null });
  expect(world.counter("mass_deletions_held")).toBe(1);
});

test("two lists that agree: deleted; what the first one added counted at once", async () => {
  stock(world.server);
  await world.startSynced({ watcher });
  let whileHeld: unknown;
  world.server.intercept = ({ kind, resource }) => {
    if (kind === "list" && resource === "services") {
      whileHeld = [world.sink.services.has("shop/new"), world.web, world.deletions];
    }
    return false;
  };
  world.server.compact(() => {
    for (let i = 0; i < 38; i++) world.server.remove("services", `many/s${i}`);
    world.server.put("services", service("new", "10.96.0.66"));
    world.server.put("services", service("web", "10.96.0.77"));
  });
  world.server.endWatches("services");
  await world.sink.until(() => world.sink.services.size === 4);
  expect(whileHeld).toEqual([true, "10.96.0.77", []]);
  expect(states()).toEqual(["held", "confirmed"]);
  await world.expectLive();
});

test("EndpointSlices alike", async () => {
  for (let i = 0; i < 30; i++) world.server.put("endpointslices", slice(`s${i}`, ["10.0.1.1"], "web", "many"));
  await world.startSynced({ watcher });
  world.server.compact(() => {
    for (let i = 0; i < 30; i++) world.server.remove("endpointslices", `many/s${i}`);
  });
  world.server.endWatches("endpointslices");
  await world.sink.until(() => world.sink.slices.size === 1);
  expect(notices.map(({ resource, state }) => [resource, state])).toEqual([
    ["/apis/discovery.k8s.io/v1/endpointslices", "held"],
    ["/apis/discovery.k8s.io/v1/endpointslices", "confirmed"],
  ]);
});

test.each([
  ["20 of 40", 37, 20, 0],
  ["21 of 40", 37, 21, 1],
  ["17 of 20", 17, 17, 0],
  ["18 of 21", 18, 18, 1],
])("%s: held only past half of more than twenty", async (_, many, removed, held) => {
  stock(world.server, many);
  await world.startSynced({ watcher });
  world.server.compact(() => {
    for (let i = 0; i < removed; i++) world.server.remove("services", `many/s${i}`);
  });
  world.server.endWatches("services");
  await world.sink.until(() => world.sink.services.size === many + 3 - removed);
  expect(world.counter("mass_deletions_held")).toBe(held);
});

test("switched off, a short list deletes at once", async () => {
  stock(world.server);
  await world.startSynced({ watcher, confirmMassDeletion: false });
  world.server.hides = isMany;
  world.server.compact();
  world.server.endWatches("services");
  await world.sink.until(() => world.sink.services.size === 3);
  expect(world.server.count("list")).toBe(0);
  expect(notices).toEqual([]);
});

test("deletions that the watch tells are acted on, however many", async () => {
  stock(world.server);
  await world.startSynced({ watcher });
  for (let i = 0; i < 38; i++) world.server.remove("services", `many/s${i}`);
  await world.sink.until(() => world.sink.services.size === 3);
  expect(notices).toEqual([]);
});

test("a second read that fails or breaks off is asked again, and holds meanwhile", async () => {
  stock(world.server);
  await world.startSynced({ watcher });
  let failures = 0;
  world.server.intercept = ({ kind, resource }, response) => {
    world.server.hides = kind === "watch-list" ? isMany : null;
    if (kind !== "list" || resource !== "services" || ++failures > 3) return false;
    if (failures === 1) sendStatus(response, 500, "no leader");
    else response.write('{"items":[', () => response.socket?.resetAndDestroy());
    return true;
  };
  world.server.compact();
  world.server.endWatches("services");
  await world.sink.until(() => states().length === 2);
  expect(states()).toEqual(["held", "refuted"]);
  expect(world.deletions).toEqual([]);
});

test("two servers: the second read is the other one's", async () => {
  const other = await FaultApiServer.start({ version: 5_000 });
  for (const server of [world.server, other]) stock(server);
  other.put("services", service("web"));
  try {
    await world.start([other.url], { watcher });
    await world.sink.until(() => world.sink.completed && other.openWatches === 2);
    other.hides = isMany;
    other.compact();
    other.endWatches("services");
    await world.sink.until(() => states().length === 2);
    expect(notices.map(({ state, server }) => [state, server])).toEqual([
      ["held", other.url],
      ["refuted", world.server.url],
    ]);
    expect(world.deletions).toEqual([]);
  } finally {
    await other.stop();
  }
});

test.each([
  ["another default/kubernetes", "cluster-b"],
  ["no default/kubernetes", null],
])("a server with %s is not believed, however often it says so", async (_, uid) => {
  stock(world.server);
  const started = await world.startSynced({ watcher });
  world.server.compact(() => {
    for (let i = 0; i < 38; i++) world.server.remove("services", `many/s${i}`);
    world.server.remove("services", "default/kubernetes");
    if (uid !== null) stock(world.server, 0, uid);
  });
  world.server.endWatches("services");
  await world.sink.until(() => world.counter("other_clusters") >= 4);
  expect(started.status()).toMatchObject({
    state: "disconnected",
    reason: expect.stringContaining("not the cluster whose Services are known"),
  });
  expect(world.deletions).toEqual([]);
  expect(states()).toEqual(["held"]);
  // The right one is back: its list is believed.
  world.server.remove("services", "default/kubernetes");
  stock(world.server, 0);
  await world.sink.until(() => states().length === 2);
  expect(states()).toEqual(["held", "confirmed"]);
});

test("a default/kubernetes made anew under the watch is the cluster's own", async () => {
  stock(world.server);
  await world.startSynced({ watcher });
  stock(world.server, 0, "cluster-a-again");
  await world.expectLive();
  world.server.compact(() => {
    for (let i = 0; i < 38; i++) world.server.remove("services", `many/s${i}`);
  });
  world.server.endWatches("services");
  await world.sink.until(() => world.sink.services.size === 3);
  expect(world.counter("other_clusters")).toBe(0);
});

test("reread: a consistent list at once, whatever the watch is at", async () => {
  const started = await world.startSynced({ watcher });
  await started.reread();
  expect(world.server.count("list", "services")).toBe(1);
  expect(world.server.count("list", "endpointslices")).toBe(1);
  expect(world.deletions).toEqual([]);
  await world.expectLive();
});

test("reread, asked for in the very moment in which a list ends: that one does not count", async () => {
  world.server.watchList = "refused";
  const listed = () => world.server.count("list", "endpointslices");
  world.server.intercept = ({ kind, resource }, response) => {
    if (kind !== "list" || resource !== "endpointslices" || listed() !== 2) return false;
    sendStatus(response, 500, "not now");
    return true;
  };
  const ends: number[] = [];
  world.sink.onSynced = (kind) => {
    if (kind !== "endpointslices") return;
    ends.push(listed());
    void Promise.resolve()
      .then(() => world.source?.reread())
      .then(() => ends.push(listed()));
  };
  await world.start();
  await world.sink.until(() => ends.length === 2);
  expect(ends).toEqual([1, 3]);
  await world.expectLive();
});

test("what a doubted list lacked, and the reread has, was missed by no watch", async () => {
  world.server.intercept = ({ kind }) => {
    world.server.hides = kind === "watch-list" ? () => true : null;
    return false;
  };
  const started = await world.startSynced();
  expect(world.sink.services.size).toBe(0);
  await started.reread();
  expect(world.sink.services.size).toBe(2);
  expect(world.counter("missed_events")).toBe(0);
  await world.expectLive();
});
