// SPDX-License-Identifier: Apache-2.0
// Events: which are new and which a series, what becomes of those that the API server does not take, and that nobody
// ever waits for them.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { EventRecorder, type Write } from "../../../src/observe/event-recorder.ts";
import type { EventText } from "../../../src/observe/events.ts";

const NODE = { kind: "Node", name: "node1", namespace: "" } as const;
const STARTING: EventText = { regarding: NODE, type: "Normal", reason: "Starting", action: "StartKubeProxy" };
const MINUTE = 60_000;

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly body: Record<string, unknown>;
}

let sent: Sent[];
let answer: (sent: Sent) => number;
let recorder: EventRecorder;

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 6, 1, 12) });
  sent = [];
  answer = () => 201;
  const write: Write = async (method, path, body) => {
    const one = { method, path, body: body as Record<string, unknown> };
    sent.push(one);
    return answer(one);
  };
  recorder = new EventRecorder({ write, host: "host1" });
});
afterEach(() => {
  recorder.close();
  vi.useRealTimers();
});

const nameOf = ({ body }: Sent): string => (body as { metadata: { name: string } }).metadata.name;

const failed = (name: string): EventText => ({
  regarding: { kind: "Service", name, namespace: "ns" },
  type: "Warning",
  reason: "Failed",
  action: "Listen",
  note: "no port",
});

test("the first is sent whole, under a name of its own", async () => {
  recorder.event(STARTING);
  recorder.event(failed("a"));
  recorder.event(failed("b"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "POST /apis/events.k8s.io/v1/namespaces/default/events",
    "POST /apis/events.k8s.io/v1/namespaces/ns/events",
    "POST /apis/events.k8s.io/v1/namespaces/ns/events",
  ]);
  const nanoseconds = BigInt(Date.UTC(2026, 6, 1, 12)) * 1_000_000n;
  expect(sent[0]?.body).toEqual({
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name: `node1.${nanoseconds.toString(16)}`, namespace: "default" },
    eventTime: "2026-07-01T12:00:00.000000Z",
    reportingController: "kube-proxy",
    reportingInstance: "kube-proxy-host1",
    regarding: { apiVersion: "v1", kind: "Node", name: "node1" },
    type: "Normal",
    reason: "Starting",
    action: "StartKubeProxy",
  });
  expect(sent[1]?.body).toMatchObject({ regarding: { kind: "Service", namespace: "ns", name: "a" }, note: "no port" });
  const names = sent.map(nameOf);
  expect(new Set(names).size).toBe(3);
  expect(recorder.counters).toEqual({ sent: 3, refused: 0, dropped: 0 });
});

test("a slice is of another API group", async () => {
  recorder.event({ ...failed("a"), regarding: { kind: "EndpointSlice", name: "a-x7", namespace: "ns" } });
  await vi.advanceTimersByTimeAsync(1_000);
  const regarding = { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", namespace: "ns", name: "a-x7" };
  expect(sent[0]?.body).toMatchObject({ regarding });
});

test("the second makes a series, further ones are only counted, and told when it is over", async () => {
  for (let i = 0; i < 5; i++) {
    recorder.event(failed("a"));
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(sent.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
  const [name] = sent.slice(0, 1).map(nameOf);
  expect(sent[1]).toEqual({
    method: "PATCH",
    path: `/apis/events.k8s.io/v1/namespaces/ns/events/${name}`,
    body: { series: { count: 2, lastObservedTime: "2026-07-01T12:00:01.000000Z" } },
  });
  await vi.advanceTimersByTimeAsync(13 * MINUTE);
  expect(sent.slice(2).map(({ method, body }) => [method, body])).toEqual([
    ["PATCH", { series: { count: 5, lastObservedTime: "2026-07-01T12:00:04.000000Z" } }],
  ]);
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent.at(-1)?.method).toBe("POST");
});

test("a single one is forgotten after six minutes, without a word", async () => {
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(13 * MINUTE);
  expect(sent.length).toBe(1);
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent.map(({ method }) => method)).toEqual(["POST", "POST"]);
});

test("one that goes on is told every half hour", async () => {
  for (let minute = 0; minute < 65; minute++) {
    recorder.event(failed("a"));
    await vi.advanceTimersByTimeAsync(MINUTE);
  }
  const counts = sent.slice(1).map(({ body }) => (body["series"] as { count: number }).count);
  expect(counts).toEqual([2, 30, 60]);
});

test("a series whose Event the API server has forgotten begins anew", async () => {
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(1_000);
  answer = ({ method }) => (method === "PATCH" ? 404 : 201);
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent.map(({ method }) => method)).toEqual(["POST", "PATCH", "POST"]);
  expect(sent[2]?.body).toMatchObject({ reason: "Failed", series: { count: 2 } });
});

test("refused: no second try", async () => {
  answer = () => 403;
  recorder.event(STARTING);
  await vi.advanceTimersByTimeAsync(10 * MINUTE);
  expect(sent.length).toBe(1);
  expect(recorder.counters).toEqual({ sent: 0, refused: 1, dropped: 0 });
});

test("away: tried again, and the rest after it; for too long: given up", async () => {
  let answers = 0;
  answer = () => {
    if (++answers <= 3) throw new Error("connection refused");
    return answers === 4 ? 503 : 201;
  };
  recorder.event(STARTING);
  recorder.event(failed("a"));
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(recorder.counters).toEqual({ sent: 2, refused: 0, dropped: 0 });
  expect(sent.length).toBe(6);
  answer = () => 500;
  recorder.event(failed("b"));
  await vi.advanceTimersByTimeAsync(5 * MINUTE);
  expect(recorder.counters).toEqual({ sent: 2, refused: 0, dropped: 1 });
  expect(sent.length).toBe(18);
});

test("a flood: five a second, a bounded number waits, and the rest is dropped and counted", async () => {
  answer = () => 201;
  for (let i = 0; i < 2_000; i++) recorder.event(failed(`s${i}`));
  expect(sent.length).toBe(1);
  expect(recorder.counters.dropped).toBe(2_000 - 257);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(sent.length).toBe(51);
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(sent.length).toBe(257);
});

test("closed: nothing is sent any more", async () => {
  for (let i = 0; i < 10; i++) recorder.event(failed(`s${i}`));
  recorder.close();
  recorder.event(STARTING);
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(sent.length).toBe(1);
});

test("a note longer than the API takes is cut", async () => {
  recorder.event({ ...failed("a"), note: "x".repeat(5_000) });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent[0]?.body).toMatchObject({ note: "x".repeat(1_024) });
});

test("what the API server would refuse is cut: a name beyond 253 letters, a note beyond 1,024 bytes", async () => {
  const name = `${"a".repeat(235)}.${"b".repeat(17)}`;
  recorder.event({ ...failed(name), note: "\u20ac".repeat(500) });
  await vi.advanceTimersByTimeAsync(0);
  const [event] = sent;
  expect(event && nameOf(event)).toMatch(/^a{235}\.[0-9a-f]{16}$/);
  const { regarding, note } = (event?.body ?? {}) as { regarding: { name: string }; note: string };
  expect([regarding.name, note]).toEqual([name, "\u20ac".repeat(341)]);
});
