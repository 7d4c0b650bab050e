// SPDX-License-Identifier: Apache-2.0
// Streams that break, lie, flood or trickle: nothing is lost, nothing deleted, and memory stays where it was.

import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import { errorLine, type FaultApiServer, sendStatus } from "../support/api-server.ts";
import type { Daemon } from "../support/daemon.ts";
import { FaultBed, memory, resetPeak, service, slice } from "./bed.ts";
import { figure } from "./figures.ts";

let faults: FaultBed;
let server: FaultApiServer;
let agent: Daemon;

beforeAll(async () => {
  faults = await FaultBed.create();
  server = await faults.serve();
  ({ agent } = await faults.sync(server));
});

afterAll(() => faults?.remove());

const report = (): Promise<AgentReport> => faults.state();
const counted = async (name: string): Promise<number> => faults.counter(await report(), name);
const counts = (name: string, at: number) => faults.says(`${name} ${at}`, (said) => faults.counter(said, name) >= at);

/** Handles the next watch of Services. */
function nextWatch(handle: (response: ServerResponse) => void): void {
  let handled = false;
  server.intercept = ({ kind, resource }, response) => {
    if (handled || kind !== "watch" || resource !== "services") return false;
    handled = true;
    handle(response);
    return true;
  };
  server.endWatches("services");
}

test("500 at three watches in a row: the same version goes on, and no list is asked for", async () => {
  const before = await counted("relists");
  let refusals = 0;
  let isTold = false;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || (isTold && refusals >= 3)) return false;
    refusals++;
    sendStatus(response, 500, "etcdserver: no leader");
    return true;
  };
  server.endWatches("services");
  await faults.says("it is refused", ({ source }) => (source.reason ?? "").includes("500 etcdserver: no leader"));
  isTold = true;
  await faults.live(server);
  figure({ row: 5, what: "500s at a watch: relists", seen: (await counted("relists")) - before, bar: 0 });
});

test("429 with Retry-After: waited out", async () => {
  let askedMs = 0;
  let againMs = 0;
  server.intercept = ({ kind, resource, atMs }, response) => {
    if (kind !== "watch" || resource !== "services") return false;
    if (askedMs > 0) againMs ||= atMs;
    else {
      askedMs = atMs;
      sendStatus(response, 429, "slow down", { "Retry-After": "3" });
    }
    return againMs === 0;
  };
  server.endWatches("services");
  await faults.live(server);
  // Node's timers count whole milliseconds.
  expect(againMs - askedMs).toBeGreaterThan(2_990);
  figure({
    row: 42,
    what: "429, Retry-After 3: asked again after",
    seen: (againMs - askedMs) / 1000,
    bar: 7,
    unit: "s",
  });
});

test("reset in the middle of a watch, ten times: every change arrives, no relist", async () => {
  const before = await report();
  for (let round = 0; round < 10; round++) {
    server.resetWatches("services");
    server.put("services", service(`reset-${round}`, `10.96.3.${round + 1}`));
  }
  const after = await faults.says("ten more", ({ objects }) => objects.services >= before.objects.services + 10);
  await faults.live(server);
  const relists = faults.counter(after, "relists") - faults.counter(before, "relists");
  figure({ row: 7, what: "resets mid-watch: relists", seen: relists, bar: 0 });
  figure({ row: 7, what: "resets mid-watch: missed events", seen: await counted("missed_events"), bar: 0 });
});

const MALFORMED: readonly (string | Buffer)[] = [
  '{"type":"ADDED","object":{"metadata":{"name":"br\n',
  "17\n",
  '{"type":"SURPRISE","object":{}}\n',
  Buffer.from([0, 255, 254, 0x0a]),
];

test("malformed lines (cut JSON, no event, an unknown one, binary): taken as corruption, resumed before them, no relist", async () => {
  const relists = await counted("relists");
  for (const line of MALFORMED) {
    const before = await counted("corrupt_lines");
    server.write("services", line);
    await counts("corrupt_lines", before + 1);
    await faults.live(server);
  }
  figure({ row: 14, what: "malformed lines: relists", seen: (await counted("relists")) - relists, bar: 0 });
  expect(await faults.hello()).toBe("hello");
});

test("an ERROR event as etcd trouble gives it, three in a row: a relist, nothing deleted", async () => {
  const before = await report();
  let events = 0;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || ++events > 3) return false;
    response.end(errorLine(500, "internal error"));
    return true;
  };
  server.endWatches("services");
  await counts("relists", faults.counter(before, "relists") + 1);
  await faults.live(server);
  const { programmer } = await report();
  figure({
    row: 6,
    what: "ERROR events: units lost",
    seen: Math.max(0, before.programmer.units - programmer.units),
    bar: 0,
  });
});

test("a line of 64 MiB: the connection is dropped early, and memory stays", async () => {
  await faults.live(server);
  const oversized = await counted("oversized_lines");
  const piece = Buffer.alloc(1 << 20, 0x61);
  let sent = 0;
  resetPeak(agent.pid);
  const before = memory(agent.pid);
  nextWatch((response) => {
    response.writeHead(200);
    const more = () => {
      if (sent === 64 || response.destroyed) return;
      sent++;
      response.write(piece, more);
    };
    more();
  });
  await counts("oversized_lines", oversized + 1);
  const jump = memory(agent.pid).peak - before.now;
  figure({ row: 15, what: "line of 64 MiB: resident memory, peak", seen: jump, bar: 32, unit: "MiB" });
  figure({ row: 15, what: "line of 64 MiB: taken in before the drop", seen: sent, bar: 32, unit: "MiB" });
  await faults.live(server);
});

test("a slice of 1,000 endpoints with a quarter of a megabyte of labels and annotations is programmed", async () => {
  const addresses = Array.from({ length: 1000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
  const large = slice("large", "web", addresses.slice(1));
  const labels = Object.fromEntries(
    Array.from({ length: 500 }, (_, i) => [`example.com/${"n".repeat(50)}${i}`, "v".repeat(63)]),
  );
  Object.assign(large.metadata["labels"] as object, labels);
  large.metadata["annotations"] = { note: "x".repeat(256 << 10) };
  const took = await faults.seconds(async () => {
    server.put("endpointslices", large);
    await faults.says("1,000 endpoints", ({ objects }) => objects.endpoints === 1000);
  });
  figure({ row: 15, what: "slice of 1,000 endpoints, labels at their most: programmed after", bar: 1, ...took });
  server.remove("endpointslices", "shop/large");
  await faults.says("one endpoint", ({ objects }) => objects.endpoints === 1);
});

test("a watch that trickles, some bytes at a time, is read all the same", async () => {
  const object = service("trickle", "10.96.4.1");
  object.metadata.resourceVersion = String(server.version + 1);
  const line = `${JSON.stringify({ type: "ADDED", object })}\n`;
  const before = (await report()).objects.services;
  nextWatch((response) => {
    response.writeHead(200);
    let at = 0;
    const timer = setInterval(() => {
      response.write(line.slice(at, at + 20));
      at += 20;
      if (at < line.length) return;
      clearInterval(timer);
      response.end();
    }, 100);
  });
  await faults.says("one Service more", ({ objects }) => objects.services > before);
  server.put("services", service("trickle", "10.96.4.1"));
});

test("watches that end cleanly at once: not hammered", async () => {
  const startMs = performance.now();
  let ends = 0;
  server.intercept = ({ kind, resource }, response) => {
    if (kind !== "watch" || resource !== "services" || performance.now() - startMs > 8_000) return false;
    ends++;
    response.end();
    return true;
  };
  server.endWatches("services");
  await new Promise((resolve) => setTimeout(resolve, 8_000));
  figure({ row: 42, what: "watches that end at once: asked for in 8 s", seen: ends, bar: 7 });
  await faults.live(server);
});

test("after all of it: everything serves, nothing was missed, and the agent is the one that was started", async () => {
  expect(await faults.hello()).toBe("hello");
  expect(agent.exit).toBeUndefined();
  const { source, problems } = await report();
  expect([source.state, source.counters["missed_events"], problems]).toEqual(["synced", 0, []]);
});
