// SPDX-License-Identifier: Apache-2.0
// Healthy is who keeps nobody waiting for two sync periods, by the clock that runs on; eligible is what the Node says.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { healthRoute } from "../../../src/health/health-server.ts";
import { ProxyHealth } from "../../../src/health/proxy-health.ts";
import type { Family, Node } from "../../../src/model/types.ts";

const NODE: Node = {
  name: "n",
  uid: "u",
  zone: "",
  internalIps: ["10.0.0.1"],
  externalIps: [],
  podCidrs: [],
  deleting: false,
  excluded: false,
};

let health: ProxyHealth;
let answered: string[];

beforeEach(() => {
  // Times are told in the machine's zone.
  vi.stubEnv("TZ", "UTC");
  vi.useFakeTimers({ now: Date.UTC(2026, 6, 1, 12), toFake: ["Date", "performance", "setTimeout"] });
  answered = [];
  health = make();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

function make({ families = [4, 6] as readonly Family[], nodeEligible = false } = {}): ProxyHealth {
  return new ProxyHealth({ families, syncPeriodSec: 30, nodeEligible });
}

async function ask(path: string): Promise<readonly [number, Record<string, unknown>]> {
  const route = healthRoute(health, (kind, code) => answered.push(`${kind} ${code}`));
  const { status, body } = await route({} as never, path);
  return [status, JSON.parse(body) as Record<string, unknown>];
}

test("before anything: healthy, without a status, and the node not eligible", async () => {
  const now = "2026-07-01T12:00:00Z";
  expect(await ask("/livez")).toEqual([200, { lastUpdated: now, currentTime: now, healthy: true }]);
  expect(await ask("/healthz")).toEqual([
    503,
    { lastUpdated: now, currentTime: now, nodeEligible: false, healthy: true },
  ]);
  expect(answered).toEqual(["livez 200", "healthz 503"]);
});

test("keys in kube-proxy's order, compact, without a newline", () => {
  health.started();
  const T = "2026-07-01T12:00:00Z";
  const status = `"status":{"IPv4":{"lastUpdated":"${T}","healthy":true},"IPv6":{"lastUpdated":"${T}","healthy":true}}}`;
  const head = `{"lastUpdated":"${T}","currentTime":"${T}",`;
  expect(health.body("healthz")).toBe(`${head}"nodeEligible":false,"healthy":true,${status}`);
  expect(health.body("livez")).toBe(`${head}"healthy":true,${status}`);
});

test("a change that waits: healthy for less than 60 s, counted from the first; a sync ends it", async () => {
  health.started();
  health.queued(4);
  vi.advanceTimersByTime(30_000);
  health.queued(4);
  vi.advanceTimersByTime(29_999);
  expect((await ask("/livez"))[0]).toBe(200);
  vi.advanceTimersByTime(1);
  const [status, body] = await ask("/livez");
  expect(status).toBe(503);
  expect(body).toEqual({
    // The newest of the families' own.
    lastUpdated: "2026-07-01T12:00:00Z",
    currentTime: "2026-07-01T12:01:00Z",
    healthy: false,
    status: {
      IPv4: { lastUpdated: "2026-07-01T12:00:00Z", healthy: false },
      IPv6: { lastUpdated: "2026-07-01T12:00:00Z", healthy: true },
    },
  });
  health.synced(6);
  expect((await ask("/livez"))[1]["lastUpdated"]).toBe("2026-07-01T12:01:00Z");
  expect((await ask("/livez"))[0]).toBe(503);
  health.synced(4);
  expect((await ask("/livez"))[0]).toBe(200);
});

test("who has nothing to do stays healthy, however long ago the last sync was", async () => {
  health.started();
  vi.advanceTimersByTime(7_200_000);
  const [status, body] = await ask("/livez");
  expect([status, body["lastUpdated"]]).toEqual([200, "2026-07-01T14:00:00Z"]);
  expect(body["status"]).toMatchObject({ IPv4: { lastUpdated: "2026-07-01T12:00:00Z" } });
});

test("a node that may have no traffic: the time of the last sync, as whenever the answer is 503", async () => {
  health.started();
  vi.advanceTimersByTime(7_200_000);
  const [status, body] = await ask("/healthz");
  expect([status, body["healthy"], body["lastUpdated"]]).toEqual([503, true, "2026-07-01T12:00:00Z"]);
  expect((await ask("/livez"))[1]["lastUpdated"]).toBe("2026-07-01T14:00:00Z");
});

test("a wall clock that jumps makes nobody ill and nobody well", async () => {
  health.started();
  health.queued(4);
  vi.setSystemTime(Date.UTC(2036, 0, 1));
  expect((await ask("/livez"))[0]).toBe(200);
  vi.advanceTimersByTime(60_000);
  vi.setSystemTime(Date.UTC(2016, 0, 1));
  expect((await ask("/livez"))[0]).toBe(503);
});

test("the node: eligible once seen, not while it goes or is tainted; deleted, the last word stands", async () => {
  const codes = async (node: Node | null) => {
    health.setNode(node);
    return [(await ask("/healthz"))[0], (await ask("/livez"))[0]];
  };
  expect(await codes(null)).toEqual([503, 200]);
  expect(await codes(NODE)).toEqual([200, 200]);
  expect(await codes({ ...NODE, excluded: true })).toEqual([503, 200]);
  expect((await ask("/healthz"))[1]).toMatchObject({ nodeEligible: false, healthy: true });
  expect(await codes({ ...NODE, deleting: true })).toEqual([503, 200]);
  expect(await codes(NODE)).toEqual([200, 200]);
  expect(await codes(null)).toEqual([200, 200]);
});

test("one family: one in the status, and what the other would wait for does not count", async () => {
  health = make({ families: [4], nodeEligible: true });
  health.started();
  health.queued(6);
  vi.advanceTimersByTime(3_600_000);
  const [status, body] = await ask("/healthz");
  expect([status, Object.keys(body["status"] as object)]).toEqual([200, ["IPv4"]]);
});
