// SPDX-License-Identifier: Apache-2.0
// The comparison of what the watch told with a list beside it: what was not told is found, counted and mended; what
// merely happens at the same time is not.

import { beforeEach, expect, test } from "vitest";
import { type ApiObject, sendStatus } from "../../support/api-server.ts";
import { service } from "./objects.ts";
import { reflectorWorld } from "./reflector-world.ts";

const world = reflectorWorld();
let missed: string[];
const options = {
  compareMs: 10_000,
  watcher: { onMissedEvents: (_: string, keys: readonly string[]) => void missed.push(...keys) },
};

beforeEach(() => {
  missed = [];
});

/** Every kind has been compared so many times more. */
async function compared(times: number): Promise<void> {
  const before = world.counter("comparisons");
  await world.sink.until(() => {
    for (const kind of ["services", "endpointslices"] as const) world.server.bookmark(kind);
    return world.counter("comparisons") >= before + 2 * times;
  });
}

/** A change that no watch hears of; the watch passes its version with the next bookmark. */
function silently(change: () => void): void {
  world.server.silent = true;
  change();
  world.server.silent = false;
}

test("names and versions alone are asked for, beside the watch, and nothing is missed", async () => {
  await world.startSynced(options);
  await compared(3);
  const names = world.server.requests.filter(({ kind }) => kind === "names");
  expect(names[0]?.query.get("labelSelector")).toMatch(/^!service/);
  expect(names[0]?.query.has("resourceVersion")).toBe(false);
  expect(world.server.openWatches).toBe(2);
  expect([world.counter("missed_events"), world.counter("relists"), missed]).toEqual([0, 0, []]);
});

test.each<[string, () => void, () => boolean]>([
  [
    "an object that it never told of",
    () => world.server.put("services", service("untold", "10.96.0.7")),
    () => world.sink.services.has("shop/untold"),
  ],
  [
    "one that it never deleted",
    () => world.server.remove("services", "shop/api"),
    () => !world.sink.services.has("shop/api"),
  ],
  [
    "one that it never changed",
    () => world.server.put("services", service("web", "10.96.0.8")),
    () => world.web === "10.96.0.8",
  ],
])("%s: counted once, named, and mended by a relist", async (_, change, mended) => {
  await world.startSynced(options);
  silently(change);
  await compared(1);
  await world.sink.until(mended);
  await compared(2);
  expect(world.counter("missed_events")).toBe(1);
  expect(missed).toHaveLength(1);
  expect(world.counter("relists")).toBe(1);
  await world.expectLive();
});

test("changes, additions and deletions while the list is read and after it are no differences", async () => {
  await world.startSynced(options);
  let round = 0;
  const churn = () => {
    world.server.put("services", service(`n${++round % 9}`, `10.96.3.${round % 250}`));
    world.server.remove("services", `shop/n${(round + 4) % 9}`);
    world.server.put("services", service("web", `10.96.4.${round % 250}`));
  };
  world.server.intercept = ({ kind }) => {
    if (kind === "names") churn();
    return false;
  };
  const churning = setInterval(churn, 3);
  try {
    await compared(8);
  } finally {
    clearInterval(churning);
  }
  expect([world.counter("missed_events"), missed]).toEqual([0, []]);
});

test("a watch that lags behind the list is waited for", async () => {
  await world.startSynced(options);
  silently(() => world.server.put("services", service("late", "10.96.0.7")));
  const told: ApiObject = { ...service("late", "10.96.0.7") };
  told.metadata.resourceVersion = String(world.server.version);
  await world.sink.until(() => world.server.count("names", "services") > 0);
  await world.clock.pass(5_000);
  world.server.write("services", `${JSON.stringify({ type: "ADDED", object: told })}\n`);
  await compared(1);
  expect([world.counter("missed_events"), missed]).toEqual([0, []]);
});

test("a version that the watch never passes is taken as passed after two and a half minutes", async () => {
  await world.startSynced(options);
  silently(() => world.server.put("services", service("untold", "10.96.0.7")));
  await world.sink.until(() => world.sink.services.has("shop/untold"));
  expect(world.counter("missed_events")).toBe(1);
});

test("a list that fails, or a relist in between, is no comparison", async () => {
  await world.startSynced(options);
  let failures = 0;
  world.server.intercept = ({ kind }, response) => {
    if (kind !== "names" || ++failures > 2) return false;
    sendStatus(response, 500, "no leader");
    return true;
  };
  await world.sink.until(() => world.counter("comparisons_given_up") === 2);
  await world.sink.until(() => world.server.count("names", "services") >= 2);
  world.server.compact(() => world.server.remove("services", "shop/api"));
  world.server.endWatches();
  await world.sink.until(() => !world.sink.services.has("shop/api"));
  await compared(1);
  expect([world.counter("missed_events"), missed]).toEqual([0, []]);
});
