// SPDX-License-Identifier: Apache-2.0
// Lists that are refused, cut, expired or short: what serves goes on serving, and only what is surely gone is deleted.

import { afterEach, beforeEach, expect, test } from "vitest";
import { logLines } from "../cli/bed.ts";
import type { FaultApiServer } from "../support/api-server.ts";
import { crowd, FaultBed, service, stock } from "./bed.ts";
import { figure } from "./figures.ts";

const CROWD = 40;

let faults: FaultBed;
let server: FaultApiServer;

beforeEach(async () => {
  faults = await FaultBed.create();
  server = await faults.serve();
});

afterEach(() => faults?.remove());

const isCrowd = ({ metadata }: { metadata: { name: string } }): boolean => metadata.name.startsWith("crowd-");
const said = (agent: { log(): string }, text: string): boolean => agent.log().includes(text);

/** A relist of Services and EndpointSlices. */
function relist(change: () => void = () => undefined): void {
  server.compact(change);
  server.endWatches("services");
  server.endWatches("endpointslices");
}

test.each(["refused", "unable"] as const)(
  "watch-list %s, as by a server without it or on etcd 3.4: pages and a watch",
  async (how) => {
    server.watchList = how;
    server.pageSize = 3;
    crowd(server, 10);
    const { report } = await faults.sync(server);
    expect(report.objects.services).toBe(11);
    await faults.live(server);
    expect(await faults.hello()).toBe("hello");
  },
);

test("pages whose token expires on the way: listed in one response", async () => {
  server.watchList = "refused";
  server.pageSize = 3;
  server.expireTokens = true;
  crowd(server, 10);
  const { report } = await faults.sync(server);
  expect(report.objects.services).toBe(11);
  const pages = server.requests.filter(({ kind, resource }) => kind === "list" && resource === "services");
  figure({ row: 6, what: "list pages that end in 410: requests until the list is whole", seen: pages.length, bar: 6 });
  await faults.live(server);
});

test("a list that breaks off in the middle: nothing of what it did not show is deleted", async () => {
  crowd(server, 10);
  const { report } = await faults.sync(server);
  let broken = 0;
  server.intercept = ({ kind, resource }, response) => {
    if (resource !== "services" || kind !== "watch-list" || ++broken > 2) return false;
    response.writeHead(200);
    response.write(`${JSON.stringify({ type: "ADDED", object: service("web", "10.96.0.80") })}\n`);
    setTimeout(() => response.socket?.resetAndDestroy(), 50);
    return true;
  };
  relist();
  await faults.says("it is relisted", ({ source }) => (source.counters["relists"] ?? 0) >= 3);
  await faults.live(server);
  expect(broken).toBeGreaterThanOrEqual(2);
  const lost = report.programmer.units + 1 - (await faults.state()).programmer.units;
  figure({ row: 8, what: "lists that break off: units withdrawn", seen: lost, bar: 0 });
  expect(await faults.hello()).toBe("hello");
});

test("an empty answer in place of 41 Services and their slices: held, refuted, 0 map writes", async () => {
  crowd(server, CROWD);
  const { agent, report } = await faults.sync(server);
  server.intercept = ({ kind }) => {
    server.hides = kind === "watch-list" ? () => true : null;
    return false;
  };
  relist();
  const refuted = () => logLines(agent).filter(({ msg }) => String(msg).includes("the first was wrong"));
  await agent.until("both lists are refuted", () => refuted().length === 2 || undefined);
  await faults.live(server);
  const after = (await faults.state()).programmer;
  const writes = after.writes - report.programmer.writes;
  // The Service that live() makes is one frontend, its two units' worth of rows at the most.
  figure({
    row: 8,
    what: "an empty list, refuted: units withdrawn",
    seen: report.programmer.units + 1 - after.units,
    bar: 0,
  });
  figure({ row: 8, what: "an empty list, refuted: map writes beside one new Service", seen: writes, bar: 6 });
  expect(logLines(agent).filter(({ msg }) => String(msg).includes("more than half"))).toMatchObject([
    { level: "warn", missing: 41, of: 41 },
    { level: "warn", missing: 41, of: 41 },
  ]);
});

test("most Services are really gone: held until the second read, then deleted; additions count at once", async () => {
  crowd(server, CROWD);
  const { agent, report } = await faults.sync(server);
  let listed = 0;
  let unitsAtConfirmation = 0;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "list" || resource !== "services" || listed++ > 0) return false;
    const all = report.programmer.units + 1;
    void faults
      .says("what is new is there", ({ programmer }) => programmer.units === all)
      .then((during) => {
        unitsAtConfirmation = during.programmer.units;
      })
      .finally(() => response.destroy());
    return true;
  };
  relist(() => {
    for (let i = 0; i < CROWD; i++) {
      server.remove("services", `shop/crowd-${i}`);
      server.remove("endpointslices", `shop/crowd-${i}`);
    }
    server.put("services", service("new", "10.96.0.90"));
  });
  const took = await faults.seconds(() => faults.says("they are gone", ({ programmer }) => programmer.units === 2));
  expect(unitsAtConfirmation).toBe(report.programmer.units + 1);
  figure({ row: 8, what: "a mass deletion that is true: deleted after", bar: 60, ...took });
  expect(said(agent, "a second read lacks it too")).toBe(true);
  expect(await faults.hello()).toBe("hello");
});

test("twin: with confirmMassDeletion off the same empty list withdraws everything", async () => {
  crowd(server, CROWD);
  const config = faults.config("confirmMassDeletion: false");
  await faults.sync(server, [`--config=${config}`]);
  server.hides = () => true;
  relist();
  await faults.says("nothing is left", ({ programmer }) => programmer.units === 0);
  expect(await faults.hello()).toBe("ENETUNREACH");
});

test("a server of another cluster is not believed, whatever it lacks", async () => {
  const identify = (uid: string) => {
    const object = service("kubernetes", "10.96.0.1", "default");
    server.put("services", { ...object, metadata: { ...object.metadata, uid } });
  };
  identify("ours");
  crowd(server, CROWD);
  const { report } = await faults.sync(server);
  relist(() => {
    for (let i = 0; i < CROWD; i++) server.remove("services", `shop/crowd-${i}`);
    identify("theirs");
  });
  const during = await faults.says(
    "it is not the cluster",
    ({ source }) =>
      (source.counters["other_clusters"] ?? 0) >= 2 &&
      // Not while it tries once more.
      (source.reason ?? "").includes("not the cluster whose Services are known"),
  );
  const lost = Math.max(0, report.programmer.units - during.programmer.units);
  figure({ row: 8, what: "another cluster's server: units withdrawn", seen: lost, bar: 0 });
});

test("a start that finds 40 pinned Services in no list: they serve until a second read lacks them too", async () => {
  crowd(server, CROWD);
  const { agent } = await faults.sync(server);
  await agent.stop("SIGKILL");
  server.hides = (object) => isCrowd(object) || object.metadata.name.startsWith("web");
  let heard = 0;
  server.intercept = ({ kind }) => {
    if (kind !== "list") return false;
    heard++;
    server.hides = null;
    return false;
  };
  const next = faults.start(faults.kubeconfig(server.url));
  await next.until("it doubts the list", () => said(next, "most of what is pinned is in no list") || undefined);
  await faults.says("all is there", ({ objects, programmer }) => objects.services === 41 && programmer.recovered === 0);
  expect(heard).toBe(2);
  const { writes } = (await faults.state()).programmer;
  figure({ row: 8, what: "a start on an empty list: map writes", seen: writes, bar: 0 });
  expect(await faults.hello()).toBe("hello");
});

test("a start that finds them gone twice deletes them", async () => {
  crowd(server, CROWD);
  const { agent } = await faults.sync(server);
  await agent.stop("SIGKILL");
  for (let i = 0; i < CROWD; i++) server.remove("services", `shop/crowd-${i}`);
  stock(server);
  const next = faults.start(faults.kubeconfig(server.url));
  await next.until("it doubts the list", () => said(next, "most of what is pinned is in no list") || undefined);
  await faults.says("they are gone", ({ programmer }) => programmer.units === 1 && programmer.recovered === 0);
  expect(await faults.hello()).toBe("hello");
});
