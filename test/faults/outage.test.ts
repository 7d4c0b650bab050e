// SPDX-License-Identifier: Apache-2.0
// The API server away at the start, in the middle and at the end: what is programmed goes on, nothing is written, and
// whoever asks is told.

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { logLines } from "../cli/bed.ts";
import type { FaultApiServer } from "../support/api-server.ts";
import { eventually } from "../support/daemon.ts";
import { crowd, FaultBed, service, WEB } from "./bed.ts";
import { figure } from "./figures.ts";

let faults: FaultBed;
let server: FaultApiServer;

beforeEach(async () => {
  faults = await FaultBed.create();
  server = await faults.serve();
  crowd(server, 10);
});

afterEach(() => faults?.remove());

function goAway(): void {
  server.refusing = true;
  server.dropConnections();
}

/** For `node -e`: calls HOST PORT one after the other until its input ends; prints calls and failures. */
const LOAD = `
const { connect } = require("node:net");
const [host, port] = process.argv.slice(1);
let calls = 0, failures = 0, ended = false;
process.stdin.on("end", () => { ended = true; }).resume();
function next() {
  if (ended) return console.log(JSON.stringify({ calls, failures }));
  calls++;
  let answer = "";
  const socket = connect({ host, port: Number(port) });
  socket.setTimeout(10000, () => socket.destroy(new Error("ETIMEDOUT")));
  socket.on("data", (data) => { answer += data; });
  socket.on("error", () => undefined);
  socket.on("close", () => { if (answer !== "hello") failures++; setTimeout(next, 5); });
}
next();
`;

async function underLoad(work: () => Promise<void>): Promise<{ calls: number; failures: number }> {
  const load = await faults.load([process.execPath, "-e", LOAD, WEB, "80"]);
  try {
    await work();
  } finally {
    load.end();
  }
  return JSON.parse(await load.output) as { calls: number; failures: number };
}

test("in the middle: 0 map writes and 0 failed calls, status says since when; at its end changes arrive", async () => {
  const { agent, report } = await faults.sync(server);
  const { calls, failures } = await underLoad(async () => {
    goAway();
    const away = await faults.says("it is away", ({ source }) => source.awaySince !== null);
    expect(away.source.state).toBe("disconnected");
    await expectAlive();
    await sleep(5_000);
    const during = await faults.state();
    figure({
      row: 5,
      what: "outage: map writes",
      seen: during.programmer.writes - report.programmer.writes,
      bar: 0,
    });
    const { stdout } = await faults.bed.cli("status");
    expect(stdout).toMatch(/source +kubernetes \(.*\): disconnected, .*; API server unreachable since \d{4}-.*Z/);
    server.put("services", service("during", "10.96.0.91"));
    server.refusing = false;
    const took = await faults.seconds(() => faults.says("what changed", ({ objects }) => objects.services === 12));
    figure({ row: 5, what: "outage of some seconds: recovered after", bar: 60, ...took });
  });
  expect(calls).toBeGreaterThan(10);
  figure({ row: 5, what: `outage and return: failed calls of ${calls}`, seen: failures, bar: 0 });
  await agent.until("it says so", () => logLines(agent).find(({ msg }) => msg === "the source is back"), 120_000);
  figure({
    row: 7,
    what: "outage and return: missed events",
    seen: faults.counter(await faults.state(), "missed_events"),
    bar: 0,
  });
});

test("at the start: serves what is pinned and says so; 0 map writes, no exit; then in sync without one either", async () => {
  const { agent, report } = await faults.sync(server);
  await agent.stop("SIGKILL");
  goAway();
  const next = faults.start(faults.kubeconfig(server.url));
  const { calls, failures } = await underLoad(async () => {
    const line = await next.until("it says what it serves", () =>
      logLines(next).find(({ msg }) => String(msg).includes("serving what was pinned")),
    );
    expect(line).toMatchObject({ units: report.programmer.units, since: expect.stringMatching(/Z$/) });
    const { stdout, code } = await faults.bed.cli("status");
    expect(stdout).toMatch(/source +kubernetes: starting, .*; API server unreachable since \d{4}-.*Z/);
    expect(stdout).toMatch(/in sync +not yet: .*serving what was pinned, 11 units/);
    expect(code).toBe(0);
    // As kube-proxy does, it gives the Node half a minute before it opens its ports.
    await eventually("it is alive", () => expectAlive().then(() => true), { withinMs: 90_000, everyMs: 500 });
    server.refusing = false;
    const { programmer } = await faults.synced(next);
    figure({ row: 5, what: "start during an outage, and its end: map writes", seen: programmer.writes, bar: 0 });
  });
  figure({ row: 5, what: `start during an outage: failed calls of ${calls}`, seen: failures, bar: 0 });
  expect(next.exit).toBeUndefined();
});

test("at the agent's end: it ends as ever, and what it programmed serves on", async () => {
  const { agent } = await faults.sync(server);
  goAway();
  await faults.says("it is away", ({ source }) => source.awaySince !== null);
  // Of the signal, as kube-proxy, but with everything closed.
  const took = await faults.seconds(() => agent.stop("SIGTERM"));
  expect(agent.exit).toEqual({ code: null, signal: "SIGTERM" });
  figure({ row: 5, what: "SIGTERM during an outage: ended after", bar: 5, ...took });
  expect(await faults.hello()).toBe("hello");
});

/** The kubelet has no reason to end it. */
async function expectAlive(): Promise<void> {
  const livez = await faults.inside(() => fetch("http://127.0.0.1:10256/livez"));
  expect(livez.status, await livez.text()).toBe(200);
}

test("twin: without an agent before, nothing is pinned, and it is said that nothing serves", async () => {
  goAway();
  const agent = faults.start(faults.kubeconfig(server.url));
  await agent.until("it is away", () => logLines(agent).find(({ msg }) => String(msg).includes("the source is away")));
  const { stdout } = await faults.bed.cli("status");
  expect(stdout).toMatch(/in sync +not yet: .*nothing was pinned/);
});
