// SPDX-License-Identifier: Apache-2.0
// Where records lie and what reading them costs: those in sockets' own storage are found as well, a full table does not
// hold up the event loop, and what has changed since a record was read is left alone.

import { setTimeout as sleep } from "node:timers/promises";
import { BpfMap, MapFlags } from "libbpf-ts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { SocketEnder } from "../../src/agent/dead-peers/socket-ender.ts";
import { deadPeerWays } from "../../src/agent/dead-peers/ways.ts";
import { type Flow, FlowTable } from "../../src/datapath/flows.ts";
import { killObject } from "../../src/datapath/object-file.ts";
import { SocketIterators } from "../../src/datapath/socket-iterators.ts";
import { addressBytes } from "../../src/model/address.ts";
import { eventually } from "../support/daemon.ts";
import type { UdpClients } from "../support/udp-client.ts";
import { makeUnit } from "../support/units.ts";
import { BACKENDS } from "./bed.ts";
import { DeadPeersBed, PORT, VIP } from "./dead-peers-bed.ts";
import { beginWith } from "./dead-peers-parts.ts";

/** Every further socket's record goes to its own storage. */
const ONE_PLACE = 1;
const CLIENTS = 4;

let d: DeadPeersBed;
beforeAll(async () => {
  d = await DeadPeersBed.create(ONE_PLACE);
});
beforeEach(() => d.set());
afterEach(() => d.clear());
afterAll(() => d?.close());

async function startClients(): Promise<UdpClients> {
  const targets = Array.from({ length: CLIENTS }, () => ({ family: 4 as const, address: VIP.v4, port: 53 }));
  const clients = d.clients("pod", { targets });
  await clients.answered(["a"], 0);
  return clients;
}

test.each(["iterators", "sock-diag", "failing-sends"] as const)(
  "%s: sockets whose record lies in their own storage move too",
  async (way) => {
    d.begin(way);
    d.program(17, "a");
    const all = await startClients();
    expect(d.bed.table.get("pt_active", 0)[0]).toBe(CLIENTS - ONE_PLACE);
    for (const [round, name] of ["b", "a", "b", "c"].entries()) {
      const sinceMs = Date.now();
      d.program(17, name);
      const movedMs = await all.answered([name], sinceMs);
      if (round === 3) await sleep(1_200);
      if (round === 3) expect(all.answerersSince(movedMs + 1)).not.toContain("b");
    }
  },
);

test.each(["iterators", "sock-diag"] as const)("%s: also those that were there before the agent", async (way) => {
  d.program(17, "a");
  const all = await startClients();
  d.program(17, "b");
  d.begin(way);
  const sinceMs = Date.now();
  d.deadPeers.start(d.programmer.units());
  await all.answered(["b"], sinceMs);
});

const ALWAYS = { isStranded: () => true, isStopped: () => false };

describe.each(["iterators", "sock-diag"] as const)("%s", (way) => {
  test("a socket that is not what the flow says any more is left alone", async () => {
    const actor = d.bed.actor("pod");
    using iterators = way === "iterators" ? new SocketIterators(killObject()) : null;
    const ender = new SocketEnder({ able: true, iterators, everywhere: true });
    const [here = "", there = ""] = BACKENDS.v4;
    await actor.do("socket 1 udp 4", `connect 1 ${here} ${PORT}`);
    const cookie = BigInt(await actor.do("cookie 1"));
    const flow = (change: Partial<Flow>): Flow => ({
      cookie,
      protocol: 17,
      frontendAddress: addressBytes(VIP.v4),
      frontendPort: 53,
      backendAddress: addressBytes(here),
      backendPort: PORT,
      backendId: 1,
      generation: 0,
      serviceId: 1,
      stored: false,
      ...change,
    });
    const others = [
      { backendAddress: addressBytes(there) },
      { backendPort: PORT + 1 },
      { cookie: cookie + 1n },
      { protocol: 6 as const },
    ];
    for (const other of others) expect((await ender.end([flow(other)], ALWAYS)).ended.size).toBe(0);
    expect(await actor.do("send 1 x", "read 1")).toBe("a:x");
    await actor.do("unspec 1");
    expect((await ender.end([flow({})], ALWAYS)).ended.size).toBe(0);
    await actor.do(`connect 1 ${here} ${PORT}`);
    expect((await ender.end([flow({})], { ...ALWAYS, isStranded: () => false })).ended.size).toBe(0);
    expect((await ender.end([flow({})], { ...ALWAYS, isStopped: () => true })).ended.size).toBe(0);
    expect(await actor.do("send 1 x", "read 1")).toBe("a:x");
    expect(await ender.end([flow({ cookie: cookie + 1n }), flow({})], ALWAYS)).toMatchObject({
      ended: new Set([cookie]),
    });
    expect(await actor.ask("read 1")).toBe("ECONNABORTED");
    expect(await actor.ask("send 1 x")).toBe("EDESTADDRREQ");
    await actor.kill();
  });
});

const outOfMemoryOnce = (): (() => Error | null) => {
  let left = 1;
  return () => (left-- > 0 ? new Error("out of memory") : null);
};

test("a pass that fails is told once, and made up for", async () => {
  await using made = beginWith(d, { listing: outOfMemoryOnce() });
  const { deadPeers, told } = made;
  d.program(17, "a");
  const all = await startClients();
  d.program(17, "b");
  deadPeers.start(d.programmer.units());
  await eventually("the failure", () => (deadPeers.status().failure === "out of memory" ? true : undefined));
  await all.answered(["b"], Date.now());
  expect(deadPeers.status().failure).toBeNull();
  expect(told).toHaveLength(1);
});

test("where the records in sockets' own storage cannot be listed, those in the table are acted on", async () => {
  await using made = beginWith(d, { listing: outOfMemoryOnce() });
  d.program(17, "a");
  await startClients();
  d.program(17, "b");
  made.deadPeers.start(d.programmer.units());
  await eventually("the end of one", () => (made.deadPeers.status().ended[4] === ONE_PLACE ? true : undefined));
  expect(made.deadPeers.status().failure).toBe("out of memory");
});

test("a change that comes during a pass's grace period has one of its own", async () => {
  const passes: boolean[] = [];
  await using made = beginWith(d, { onFind: (query) => passes.push(query.concerns(17, 54)) });
  d.program(17, "a");
  const other = makeUnit({
    name: "default/other",
    clusterIp: VIP.v4,
    port: 54,
    protocol: 17,
    endpoints: ["10.1.0.9:54"],
  });
  d.programmer.apply({ upserted: [other], removed: [] });
  const states = [...d.programmer.units()].map(({ state }) => ({ unit: state, lostIds: [] }));
  const late = states.filter(({ unit }) => unit.name === "default/other");
  made.deadPeers.changed(states.filter((change) => !late.includes(change)));
  // Behind the timer that begins the pass, in the same turn.
  await sleep(1);
  expect([late.length, passes]).toEqual([1, []]);
  made.deadPeers.changed(late);
  await eventually("both passes", () => (passes.length >= 2 ? true : undefined));
  expect(passes).toEqual([false, true]);
});

test("otherNamespaces never: no other namespace is entered, what is sent there fails", async () => {
  const ways = deadPeerWays({ deadPeers: { tcp: false, otherNamespaces: "never" } });
  expect(ways).toMatchObject({ here: "iterators", elsewhere: "failing-sends" });
  d.begin(ways);
  d.program(17, "a");
  const all = await startClients();
  const sinceMs = Date.now();
  d.program(17, "b");
  await all.answered(["b"], sinceMs);
  expect(all.errorsSince(sinceMs)).toEqual(["EPERM"]);
});

test("a flow is no longer held when its socket called another frontend", async () => {
  await using made = beginWith(d, {});
  const actor = d.actor("pod");
  const second = makeUnit({
    name: "default/second",
    clusterIp: "10.96.0.2",
    port: 53,
    protocol: 17,
    endpoints: [`${BACKENDS.v4[0]}:${PORT}`],
  });
  d.program(17, "a");
  d.programmer.apply({ upserted: [second], removed: [] });
  await actor.do("socket 1 udp 4", `connect 1 ${VIP.v4} 53`);
  const [flow, ...more] = await made.table.find({ concerns: () => true, matches: () => true });
  if (flow === undefined) throw new Error("no flow");
  expect([more, made.table.holds(flow)]).toEqual([[], true]);
  await actor.do("connect 1 10.96.0.2 53");
  expect(made.table.holds(flow)).toBe(false);
});

test("flows that have no room leave nothing behind for the next", async () => {
  using iterators = new SocketIterators(killObject());
  const flows = (count: number, from: number): Flow[] =>
    Array.from({ length: count }, (_, i) => ({
      cookie: BigInt(from + i) << 40n,
      protocol: 17,
      frontendAddress: addressBytes(VIP.v4),
      frontendPort: 53,
      backendAddress: addressBytes(BACKENDS.v4[0]),
      backendPort: PORT,
      backendId: 1,
      generation: 0,
      serviceId: 1,
      stored: false,
    }));
  await expect(iterators.doom(flows(iterators.room + 1, 1))).rejects.toMatchObject({ code: "E2BIG" });
  const fitting = flows(iterators.room, iterators.room + 2);
  await iterators.doom(fitting);
  expect(await iterators.end(17, null)).toHaveLength(0);
  await iterators.spare(fitting);
  await iterators.doom(fitting);
});

test("a full table is read without holding up the event loop", async () => {
  const places = 65_536;
  const bytes = 64;
  using sockets = BpfMap.create({
    type: "array",
    name: "full",
    keySize: 4,
    valueSize: bytes,
    maxEntries: places,
    flags: MapFlags.MMAPABLE,
  });
  using view = sockets.mmap();
  const data = new DataView(view.buffer);
  for (let place = 0; place < places; place++) {
    data.setBigUint64(place * bytes, BigInt(place + 1), true);
    data.setUint16(place * bytes + 40, 53, true); // frontend_port
    data.setUint8(place * bytes + 56, 17); // proto
  }
  using active = d.bed.object.map("pt_active");
  using btf = d.bed.object.btf();
  using table = new FlowTable({ sockets, active }, btf);
  const spentMs = (since: NodeJS.CpuUsage): number => process.cpuUsage(since).user / 1_000;
  const looks: number[] = [];
  for (let i = 0; i < 3; i++) {
    const before = process.cpuUsage();
    expect(await table.find({ concerns: () => false, matches: () => true })).toEqual([]);
    looks.push(spentMs(before));
  }
  let turns = 0;
  const turn = setInterval(() => turns++, 0);
  const before = process.cpuUsage();
  const all = await table.find({ concerns: () => true, matches: () => true });
  const readMs = spentMs(before);
  clearInterval(turn);
  expect(all).toHaveLength(places);
  // By the processor's time, and the least of it: others may be running beside this test.
  expect(Math.min(...looks)).toBeLessThan(20);
  expect(readMs / turns).toBeLessThan(20);
});
