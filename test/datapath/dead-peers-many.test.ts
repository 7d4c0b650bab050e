// SPDX-License-Identifier: Apache-2.0
// Very many stranded flows, and such as nobody can do anything about: neither the agent's event loop nor other sockets
// wait for them.

import { setTimeout as sleep } from "node:timers/promises";
import { BpfError, BpfMap, MapFlags } from "libbpf-ts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { walkNamespaces } from "../../src/agent/dead-peers/namespace-walk.ts";
import type { FlowTable as Table } from "../../src/datapath/flows.ts";
import { FlowTable } from "../../src/datapath/flows.ts";
import { addressBytes } from "../../src/model/address.ts";
import { eventually } from "../support/daemon.ts";
import { Stall } from "../support/stall.ts";
import { BACKENDS } from "./bed.ts";
import { DeadPeersBed, PORT, VIP } from "./dead-peers-bed.ts";
import { beginWith } from "./dead-peers-parts.ts";

const ONE_PLACE = 1;
const MANY = 65_536;
const RECORD_BYTES = 64;

let d: DeadPeersBed;
let full: BpfMap;
beforeAll(async () => {
  d = await DeadPeersBed.create(ONE_PLACE);
  full = BpfMap.create({
    type: "array",
    name: "full",
    keySize: 4,
    valueSize: RECORD_BYTES,
    maxEntries: MANY,
    flags: MapFlags.MMAPABLE,
  });
  fill();
});
beforeEach(() => d.set());
afterEach(() => d.clear());
afterAll(async () => {
  full?.close();
  await d?.close();
});

/** Everybody called the Service and was led to its first endpoint. */
function fill(): void {
  using view = full.mmap();
  const data = new DataView(view.buffer);
  const bytes = new Uint8Array(view.buffer);
  for (let place = 0; place < MANY; place++) {
    const at = place * RECORD_BYTES;
    bytes.set(addressBytes(VIP.v4), at + 8);
    bytes.set(addressBytes(BACKENDS.v4[0]), at + 24);
    data.setUint16(at + 40, 53, true);
    data.setUint16(at + 42, PORT, true);
    data.setUint8(at + 56, 17);
    data.setBigUint64(at, BigInt(MANY + place), true);
  }
}

const fullTable = ([{ active }, btf]: ConstructorParameters<typeof FlowTable>): Table =>
  new FlowTable({ sockets: full, active }, btf);

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

/** The longest turn of the event loop until it is stopped, by this thread's processor time: others run beside it. */
function watchTurns(): { stop(): number } {
  let longestMs = 0;
  let beforeMs = cpuMs();
  let immediate = setImmediate(function look(): void {
    const now = cpuMs();
    longestMs = Math.max(longestMs, now - beforeMs);
    beforeMs = now;
    immediate = setImmediate(look);
  });
  return {
    stop() {
      clearImmediate(immediate);
      return longestMs;
    },
  };
}

/** Where that is more than half of what it takes to find all of them. */
const TURN_MS = 20;

/** What it takes here and now to find all of them, in many turns. */
async function findMs(table: FlowTable): Promise<number> {
  const before = cpuMs();
  expect(await table.find({ concerns: () => true, matches: () => true })).toHaveLength(MANY);
  return cpuMs() - before;
}

describe(`${MANY} stranded flows`, () => {
  test.each([{ able: true }, { able: false }])(
    "hold up no turn of the event loop (can be ended: $able)",
    async ({ able }) => {
      await using made = beginWith(d, { able, table: fullTable, quenchPlaces: ONE_PLACE });
      const { deadPeers, table } = made;
      d.program(17, "a");
      d.program(17, "b");
      const turns = watchTurns();
      deadPeers.start(d.programmer.units());
      await eventually("all of them", () => (deadPeers.status().stranded === MANY ? true : undefined));
      await sleep(2_500);
      const longestMs = turns.stop();
      expect(deadPeers.status().failure).toBeNull();
      expect(longestMs).toBeLessThan(Math.max(TURN_MS, (await findMs(table)) / 2));
    },
  );

  test("cost little while sends to their endpoint fail", async () => {
    let tries = 0;
    await using made = beginWith(d, { able: false, table: fullTable, quenchPlaces: ONE_PLACE, onEnd: () => tries++ });
    const { deadPeers, table } = made;
    d.program(17, "a");
    d.program(17, "b");
    deadPeers.start(d.programmer.units());
    // The next one is ten seconds later, and the last.
    await eventually("the fourth try", () => (tries >= 4 ? true : undefined));
    let [before, triesBefore, spentMs] = [0, 0, 0];
    do {
      await sleep(1_000);
      [before, triesBefore] = [cpuMs(), tries];
      await sleep(3_000);
      spentMs = cpuMs() - before;
    } while (tries !== triesBefore);
    expect(deadPeers.status()).toMatchObject({ stranded: MANY, failingEndpoints: 1 });
    // Three looks, and to find all of them each time takes three times as long as that.
    expect(spentMs).toBeLessThan(2 * (await findMs(table)));
  });

  test("do not keep the agent from stopping", async () => {
    const made = beginWith(d, { table: fullTable });
    d.program(17, "a");
    d.program(17, "b");
    made.deadPeers.start(d.programmer.units());
    await eventually("all of them", () => (made.deadPeers.status().stranded > 0 ? true : undefined));
    const stall = new Stall();
    const sinceMs = performance.now();
    await made[Symbol.asyncDispose]();
    expect(performance.now() - sinceMs - stall.ms).toBeLessThan(2_000);
    stall.stop();
  });
});

test("a socket that dissolved its association is looked for a few times, also when others of its Service move", async () => {
  const looks: bigint[] = [];
  await using made = beginWith(d, { onEnd: (flows) => looks.push(...flows.map(({ cookie }) => cookie)) });
  d.program(17, "a");
  const client = d.actor("pod");
  await client.do("socket 1 udp 4", `connect 1 ${VIP.v4} 53`, "unspec 1");
  const change = (): void =>
    made.deadPeers.changed([...d.programmer.units()].map(({ state }) => ({ unit: state, lostIds: [] })));
  d.program(17, "b");
  change();
  await eventually("the last look", () => (looks.length === 5 ? true : undefined));
  await sleep(200);
  expect(made.deadPeers.status()).toMatchObject({ failure: null });
  change();
  await sleep(600);
  expect(looks).toHaveLength(5);
  // It calls again, and its endpoint goes again.
  await client.do(`connect 1 ${VIP.v4} 53`);
  d.program(17, "a");
  change();
  await eventually("its end", () => (made.deadPeers.status().ended[4] === 1 ? true : undefined));
}, 120_000);

test("where there are too many records in sockets' own storage, sends fail instead, and they are not listed on and on", async () => {
  let listings = 0;
  const listing = (): Error => {
    listings++;
    return new BpfError({ operation: "read iterator", errno: 27, code: "EFBIG" });
  };
  await using made = beginWith(d, { listing, quenchPlaces: ONE_PLACE });
  const targets = Array.from({ length: 4 }, () => ({ family: 4 as const, address: VIP.v4, port: 53 }));
  d.program(17, "a");
  const clients = d.clients("pod", { targets });
  await clients.answered(["a"], 0);
  const lostIds = [...d.programmer.units()].flatMap(({ state }) => [...state.backendIds]);
  const sinceMs = Date.now();
  d.program(17, "b");
  made.deadPeers.changed([...d.programmer.units()].map(({ state }) => ({ unit: state, lostIds })));
  await clients.answered(["b"], sinceMs);
  expect(clients.errorsSince(sinceMs)).toContain("EPERM");
  await sleep(5_500);
  expect(listings).toBe(1);
  expect(made.deadPeers.status().failure).toContain("too many");
  expect(made.told).toHaveLength(1);
}, 120_000);

test("an endpoint that comes back before its sockets are ended keeps them", async () => {
  let ends = 0;
  await using made = beginWith(d, {
    onEnd: () => {
      ends++;
      d.program(17, "a", "b");
    },
  });
  d.program(17, "a");
  const client = d.actor("pod");
  await client.do("socket 1 udp 4", `connect 1 ${VIP.v4} 53`);
  d.program(17, "a/-", "b");
  made.deadPeers.start(d.programmer.units());
  await eventually("the walk", () => (ends > 0 ? true : undefined));
  await sleep(500);
  expect(await client.do("send 1 x", "read 1")).toBe("a:x");
  expect(made.deadPeers.status()).toMatchObject({ stranded: 0, ended: { 4: 0 } });
});

test("a namespace that takes its time keeps no other waiting", async () => {
  let began = 0;
  let isOver = false;
  const walked = await walkNamespaces(
    async () => {
      if (++began > 1) return;
      await eventually("the others", () => (began > 2 ? true : undefined));
      isOver = true;
    },
    { everywhere: true, isDone: () => false },
  );
  expect([isOver, walked.failure]).toEqual([true, null]);
});

test("what no namespace explains ends the walk, also if it comes late", async () => {
  let began = 0;
  const walk = walkNamespaces(
    async () => {
      if (++began === 1) await eventually("another one", () => (began > 1 ? true : undefined));
      else await sleep(300);
      throw new Error(`fault ${began}`);
    },
    { everywhere: true, isDone: () => false },
  );
  await expect(walk).rejects.toThrow("fault");
  expect(began).toBe(2);
});
