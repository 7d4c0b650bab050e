// SPDX-License-Identifier: Apache-2.0
// ClientIP affinity at the socket: the client is a network namespace, its time starts anew with each connection.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed } from "./bed.ts";
import { BACKEND, FRONTEND, type Service } from "./table.ts";

const ALL = BACKEND.cluster | BACKEND.local | BACKEND.serving;
const LONG = 3600;

let bed: Bed;
let host: Actor;
let tcp: Service;
let udp: Service;

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const [i, address] of BACKENDS.v4.entries()) {
    await server.do(`serve tcp ${address} 8080 ${"abc"[i]}`, `serve udp ${address} 5353 ${"abc"[i]}`);
  }
  const endpoints = (port: number) => BACKENDS.v4.map((address) => ({ address, port }));
  tcp = bed.table.addService({
    proto: "tcp",
    frontends: [
      { address: "10.96.0.1", port: 80 },
      { address: "10.96.0.2", port: 80, flags: FRONTEND.externalIp },
      { address: "10.96.0.3", port: 80, flags: FRONTEND.clusterIp | FRONTEND.internalLocal },
    ],
    endpoints: endpoints(8080),
    local: [2],
    affinitySec: LONG,
  });
  udp = bed.table.addService({
    proto: "udp",
    frontends: [{ address: "10.96.0.1", port: 53 }],
    endpoints: endpoints(5353),
    affinitySec: LONG,
  });
  host = bed.actor("host");
});

afterAll(() => bed?.close());

beforeEach(() => {
  for (const [key] of bed.rawRows("pt_affinity")) bed.object.map("pt_affinity").delete(key);
  for (const service of [tcp, udp]) {
    bed.table.setCluster(service, [0, 1, 2]);
    bed.table.setAffinity(service, LONG);
    for (const i of [0, 1, 2]) bed.table.patchBackend(service, i, { flags: ALL, generation: 2 });
  }
});

/** Connects once; the tag of who answered. */
async function call(actor: Actor, vip = "10.96.0.1"): Promise<string> {
  await actor.do("socket 1 tcp 4", `connect 1 ${vip} 80`);
  const tag = await actor.do("read 1");
  await actor.do("close 1");
  return tag;
}

const row = () => bed.table.rows("pt_affinity", "affinity_key", "affinity")[0]?.value;

test("one client keeps its endpoint, through any frontend and from any process", async () => {
  const tag = await call(host);
  const other = bed.actor("host");
  for (let i = 0; i < 15; i++) {
    expect(await call(host)).toBe(tag);
    expect(await call(host, "10.96.0.2")).toBe(tag);
    expect(await call(other)).toBe(tag);
  }
  expect(bed.table.rows("pt_affinity", "affinity_key", "affinity")).toHaveLength(1);
});

test("namespaces are different clients", async () => {
  const pod = bed.actor("pod");
  await call(host);
  await call(pod);
  const keys = bed.table.rows("pt_affinity", "affinity_key", "affinity").map(({ key }) => key);
  const cookies = await Promise.all([host.do("netns"), pod.do("netns")]);
  const clients = keys.map((key) => new DataView(key.bytes("client").buffer).getBigUint64(0, true));
  expect(clients.sort()).toEqual(cookies.map(BigInt).sort());
});

test("the timeout counts from the last connection", async () => {
  bed.table.setAffinity(tcp, 2);
  let [tag, firstMs, beforeMs] = ["", 0, Number.NEGATIVE_INFINITY];
  do {
    const nowMs = performance.now();
    const next = await call(host);
    // One that the machine let come late shows nothing, and is a first one.
    if (performance.now() - beforeMs > 1_500) firstMs = nowMs;
    else expect(next).toBe(tag);
    [tag, beforeMs] = [next, nowMs];
    await sleep(500);
  } while (beforeMs - firstMs < 3_000);
  const fresh = new Set<string>();
  for (let i = 0; i < 12 && fresh.size < 2; i++) {
    await sleep(2_100);
    fresh.add(await call(host));
  }
  expect(fresh.size).toBe(2);
}, 120_000);

test("a connection within the step does not write, a later one does, in place", async () => {
  await call(host);
  const first = row()?.bigint("expires_ns") ?? 0n;
  await sleep(200);
  await call(host);
  const second = row()?.bigint("expires_ns") ?? 0n;
  expect(Number(second - first)).toBeGreaterThan(150e6);
  expect(bed.table.stats()["AFFINITY_NEW"]).toBeGreaterThan(0);
});

test.each([
  ["no longer chosen", { flags: BACKEND.serving }],
  ["retired", { generation: 3, flags: 0 }],
])("an endpoint that is %s is left", async (_, patch) => {
  const tag = await call(host);
  const index = "abc".indexOf(tag);
  bed.table.setCluster(
    tcp,
    [0, 1, 2].filter((i) => i !== index),
  );
  bed.table.patchBackend(tcp, index, patch);
  const next = await call(host);
  expect(next).not.toBe(tag);
  for (let i = 0; i < 10; i++) expect(await call(host)).toBe(next);
});

test("a reused id is another endpoint", async () => {
  const index = "abc".indexOf(await call(host));
  bed.table.patchBackend(tcp, index, { generation: 8 });
  const seen = new Set<string>();
  for (let i = 0; i < 30 && seen.size < 2; i++) {
    for (const [key] of bed.rawRows("pt_affinity").slice(1)) bed.object.map("pt_affinity").delete(key);
    seen.add(await call(host));
    bed.table.patchBackend(tcp, "abc".indexOf([...seen].at(-1) ?? "a"), { generation: 10 + 2 * i });
  }
  expect(seen.size).toBe(2);
});

test("policy comes first: the local set does not take a client to an endpoint elsewhere", async () => {
  bed.table.patchBackend(tcp, 0, { flags: BACKEND.cluster | BACKEND.serving });
  bed.table.patchBackend(tcp, 1, { flags: BACKEND.cluster | BACKEND.serving });
  bed.table.setCluster(tcp, [0, 1]);
  expect(await call(host)).toMatch(/[ab]/);
  expect(await call(host, "10.96.0.3")).toBe("c");
});

test("no endpoint left: refused, whatever the affinity says", async () => {
  await call(host);
  bed.table.setCluster(tcp, [], 0);
  await host.do("socket 1 tcp 4");
  expect(await host.ask("connect 1 10.96.0.1 80")).toBe("ECONNREFUSED");
  await host.do("close 1");
});

test("connected and unconnected UDP count as connections of the client", async () => {
  const tags = new Set<string>();
  for (let i = 0; i < 10; i++) {
    await host.do("socket 1 udp 4", "connect 1 10.96.0.1 53", "send 1 x");
    tags.add(await host.do("read 1"));
    await host.do("close 1", "socket 1 udp 4", "sendto 1 10.96.0.1 53 x");
    tags.add(await host.do("read 1"));
    await host.do("close 1");
  }
  expect(tags.size).toBe(1);
});

test("a row whose contents are another row's is not believed", async () => {
  const tag = await call(host);
  const index = "abc".indexOf(tag);
  const [key, value] = bed.rawRows("pt_affinity")[0] ?? [];
  if (key === undefined || value === undefined) throw new Error("no row");
  const other = (index + 1) % 3;
  new DataView(value.buffer, value.byteOffset).setUint32(8, tcp.backends[other] ?? 0, true);
  bed.object.map("pt_affinity").set(key, value);
  const before = bed.table.stats()["AFFINITY_NEW"] ?? 0;
  await call(host);
  expect(bed.table.stats()["AFFINITY_NEW"]).toBe(before + 1);
});
