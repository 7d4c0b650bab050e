// SPDX-License-Identifier: Apache-2.0
// MPTCP: a call to a Service works as any other, but nobody tells the programs of its end. Its record goes when its
// socket is found no more, and nobody else's.

import { basename } from "node:path";
import pino from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { listSockets, RecordSweep } from "../../src/agent/dead-peers/record-sweep.ts";
import { StaleRecords } from "../../src/datapath/stale-records.ts";
import { NamespaceSearch } from "../../src/node/netns.ts";
import { connectedSockets } from "../../src/node/sock-diag.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed } from "./bed.ts";
import type { Service } from "./table.ts";

const VIP = "10.96.0.1";
const WRITING = 1n << 63n;

let bed: Bed;
let server: Actor;
let client: Actor;
let service: Service;
let records: StaleRecords;
let sweep: RecordSweep;
const active = (): number => bed.table.active(service, 0);

beforeAll(async () => {
  bed = await Bed.create();
  server = bed.outsider("host");
  await server.do(`serve udp ${BACKENDS.v4[0]} 5353 a`, "socket 1 tcp 4");
  await server.do(`bind 1 ${BACKENDS.v4[0]} 8080`, "listen 1");
  const endpoint = (port: number) => [{ address: BACKENDS.v4[0], port }];
  service = bed.table.addService({
    proto: "tcp",
    frontends: [{ address: VIP, port: 80 }],
    endpoints: endpoint(8080),
  });
  bed.table.addService({ proto: "udp", frontends: [{ address: VIP, port: 53 }], endpoints: endpoint(5353) });
  using sockets = bed.object.map("pt_sockets");
  using counts = bed.object.map("pt_active");
  using btf = bed.object.btf();
  const generation = (id: number): number =>
    bed.table.codec("backend").decode(bed.table.get("pt_backends", id)).number("generation");
  records = new StaleRecords({ sockets, active: counts, generation }, btf);
});
beforeEach(() => {
  client = bed.actor("host");
  sweep = new RecordSweep({ records, list: listed, log: pino({ level: "silent" }) });
});
afterAll(async () => {
  records?.[Symbol.dispose]();
  await bed?.close();
});

/** An MPTCP connection, and its end on both sides: nothing of it is left. */
async function comeAndGo(descriptor: number): Promise<void> {
  await client.do(`socket ${descriptor} mptcp 4`, `connect ${descriptor} ${VIP} 80`);
  await end(descriptor);
}

async function end(descriptor: number): Promise<void> {
  await server.do("accept 1 2", "close 2");
  await client.do(`read ${descriptor}`, `close ${descriptor}`);
  const { length } = bed.records();
  await expect.poll(async () => (await listed()).size).toBeLessThan(length);
}

/** The sockets of both namespaces. */
async function listed(): Promise<ReadonlySet<bigint>> {
  const live = new Set<bigint>();
  for (const place of ["host", "pod"]) {
    const netns = `/run/netns/${basename(bed.cgroup)}-${place}`;
    for await (const { cookie } of connectedSockets({ protocol: 6, netns })) live.add(cookie);
  }
  return live;
}

test("an MPTCP connection is led to the endpoint; its record goes at the second look after its end", async () => {
  await client.do("socket 1 mptcp 4", `connect 1 ${VIP} 80`);
  await client.do("socket 2 tcp 4", `connect 2 ${VIP} 80`, "socket 3 udp 4", `connect 3 ${VIP} 53`);
  expect(await client.do("peer 1")).toBe(`${BACKENDS.v4[0]} 8080`);
  expect([await sweep.look(), await sweep.look(), active(), bed.records().length]).toEqual([0, 0, 2, 3]);
  await end(1);
  expect([active(), bed.records().length]).toEqual([2, 3]);
  expect(await sweep.look()).toBe(1);
  expect([active(), bed.records().length]).toEqual([1, 2]);
  expect(await client.do("peer 2")).toBe(`${VIP} 80`);
  await server.do("accept 1 2", "close 2");
  await client.do("close 2", "close 3");
  expect([active(), bed.records()]).toEqual([0, []]);
});

test("a record that is new since the last look has until the next; where sockets may be missed none goes", async () => {
  await comeAndGo(1);
  const blind = new RecordSweep({ records, list: async () => null, log: pino({ level: "silent" }) });
  for (let i = 0; i < 3; i++) expect(await blind.look()).toBe(0);
  expect([await sweep.look(), active(), await sweep.look(), active()]).toEqual([0, 1, 1, 0]);
});

test("a connection of a backend that is another's by now is not taken off its count", async () => {
  await comeAndGo(1);
  await sweep.look();
  bed.table.patchBackend(service, 0, { generation: 4 });
  expect(await sweep.look()).toBe(1);
  expect([active(), bed.records()]).toEqual([1, []]);
  bed.table.patchBackend(service, 0, { generation: 2 });
  bed.object.map("pt_active").set(new Uint8Array(Uint32Array.of(service.backends[0] ?? 0).buffer), new Uint8Array(8));
});

test("a place that a killed agent had begun to free is freed by the next", async () => {
  await comeAndGo(1);
  const [[place, cookie] = [0, 0n]] = await records.places();
  using sockets = bed.object.map("pt_sockets");
  using view = sockets.mmap();
  view.store64(place * view.elementSize, cookie | WRITING);
  expect([await sweep.look(), await sweep.look()]).toEqual([0, 1]);
  expect([active(), bed.records()]).toEqual([0, []]);
});

test("a socket that was taken for gone and is not: nothing is freed twice", async () => {
  await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
  const freeing = records.free(await records.places());
  await client.do("close 1");
  expect(await freeing).toBe(1);
  expect([active(), bed.records()]).toEqual([0, []]);
  await server.do("accept 1 2", "close 2");
});

test("the node's sockets are all of them, or none where some may be missed", async () => {
  await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
  const search = new NamespaceSearch();
  search.named();
  await search.ofProcesses();
  const isThere = (await listSockets())?.has(BigInt(await client.do("cookie 1"))) ?? null;
  expect(isThere).toBe(search.isComplete ? true : null);
  await client.do("close 1");
  await server.do("accept 1 2", "close 2");
});
