// SPDX-License-Identifier: Apache-2.0
// ClientIP affinity while a Service changes: the agent's own writing on the maps of live programs, and sockets that
// connect in between.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Maps } from "../../src/datapath/maps.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { frontend, makeUnit, type UnitText } from "../support/units.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST } from "./bed.ts";

const VIP = "10.96.0.1";
const EXTERNAL = "192.0.2.1";
const NODE_PORT = 30080;
const LONG = 3600;

let bed: Bed;
let maps: Maps;
let programmer: Programmer;
let host: Actor;

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const [i, address] of BACKENDS.v4.entries()) {
    await server.do(`serve tcp ${address} 8080 ${"abc"[i]}`, `serve udp ${address} 5353 ${"abc"[i]}`);
  }
  bed.table.addNodeAddress(HOST.v4);
  maps = Maps.ofObject(bed.object);
  await startAgent();
  host = bed.actor("host");
});

afterAll(async () => {
  maps?.close();
  await bed?.close();
});

async function startAgent(): Promise<void> {
  programmer = await Programmer.start(maps, { bindGuard: () => false });
  programmer.allowDeletes();
}

/** Endpoints by letter, those in brackets serve but are not chosen: "ab(c)". */
function unit(name: string, letters: string, change: Partial<UnitText> = {}) {
  const endpoints = [...letters.matchAll(/(\()?([abc])/g)].map(([, aside, letter = ""]) => {
    const address = BACKENDS.v4["abc".indexOf(letter)] ?? "";
    return `${address}:8080/${aside === undefined ? "cls" : "s"}`;
  });
  return makeUnit({ name, clusterIp: VIP, affinitySec: LONG, endpoints, ...change });
}

function program(letters: string, change: Partial<UnitText> = {}): void {
  const frontends = [frontend("externalIP", EXTERNAL, 80), frontend("nodePort", "", NODE_PORT)];
  expect(
    programmer.apply({ upserted: [unit("a/web", letters, { frontends, ...change })], removed: [] }).refused,
  ).toEqual([]);
}

beforeEach(() => {
  for (const [key] of bed.rawRows("pt_affinity")) bed.object.map("pt_affinity").delete(key);
});

afterEach(async () => {
  programmer.apply({ upserted: [], removed: ["a/web/TCP/4", "a/web:other/TCP/4", "a/web:dns/UDP/4"] });
  await programmer.settled();
});

async function call(address = VIP, port = 80): Promise<string> {
  await host.do("socket 1 tcp 4", `connect 1 ${address} ${port}`);
  const letter = await host.do("read 1");
  await host.do("close 1");
  return letter;
}

/** Who answers, the same one in so many calls. */
async function steady(times = 10): Promise<string> {
  const letter = await call();
  for (let i = 1; i < times; i++) expect(await call()).toBe(letter);
  return letter;
}

/** What the call did with the client's entry: kept it, or made one. */
async function entryOf(action: () => Promise<unknown>): Promise<"kept" | "made" | "none"> {
  const before = bed.table.stats();
  await action();
  const after = bed.table.stats();
  if ((after["AFFINITY_HIT"] ?? 0) > (before["AFFINITY_HIT"] ?? 0)) return "kept";
  return (after["AFFINITY_NEW"] ?? 0) > (before["AFFINITY_NEW"] ?? 0) ? "made" : "none";
}

const others = (letter: string): string => "abc".replace(letter, "");

describe("endpoints", () => {
  test("new ones take no client away", async () => {
    program("a");
    expect(await call()).toBe("a");
    program("ab");
    expect(await steady()).toBe("a");
    program("abc");
    expect(await steady()).toBe("a");
  });

  test("one that others have replaced in place is not mistaken for its successor's", async () => {
    program("a");
    expect(await call()).toBe("a");
    program("b");
    expect(await entryOf(() => call())).toBe("made");
    await programmer.settled();
    program("ac");
    expect(await entryOf(() => call())).toBe("made");
  });

  test.each([
    ["is gone", others],
    ["is draining", (letter: string) => `${others(letter)}(${letter})`],
  ])("a client whose endpoint %s has another, and keeps that when the first is back", async (_, without) => {
    program("abc");
    const first = await steady();
    program(without(first));
    const second = await steady();
    expect(second).not.toBe(first);
    program("abc");
    expect(await steady(20)).toBe(second);
  });

  test("none left: refused; the entry of then is no entry to the endpoint that comes back", async () => {
    program("abc");
    const first = await call();
    program("");
    await host.do("socket 1 tcp 4");
    expect(await host.ask(`connect 1 ${VIP} 80`)).toBe("ECONNREFUSED");
    await host.do("close 1");
    await programmer.settled();
    program(first);
    expect(await entryOf(() => call())).toBe("made");
  });
});

describe("time", () => {
  test("a longer one leaves entries their end, and counts from the next connection", async () => {
    program("abc", { affinitySec: 1 });
    await call();
    program("abc", { affinitySec: LONG });
    await sleep(1300);
    expect(await entryOf(() => call())).toBe("made");
    await sleep(1300);
    expect(await entryOf(() => call())).toBe("kept");
  });

  test("so does a shorter one", async () => {
    program("abc");
    const letter = await call();
    program("abc", { affinitySec: 1 });
    await sleep(1300);
    expect(await entryOf(async () => expect(await call()).toBe(letter))).toBe("kept");
    await sleep(1300);
    expect(await entryOf(() => call())).toBe("made");
  });

  test("each connection starts it anew, also one of UDP", async () => {
    const endpoints = BACKENDS.v4.map((address) => `${address}:5353`);
    const dns = makeUnit({ name: "a/web:dns", clusterIp: VIP, port: 53, protocol: 17, affinitySec: 2, endpoints });
    programmer.apply({ upserted: [dns], removed: [] });
    const ask = async (): Promise<void> => {
      await host.do("socket 1 udp 4", `sendto 1 ${VIP} 53 x`, "read 1", "close 1");
    };
    expect(await entryOf(ask)).toBe("made");
    let [firstMs, beforeMs] = [0, Number.NEGATIVE_INFINITY];
    do {
      const nowMs = performance.now();
      const entry = await entryOf(ask);
      // One that the machine let come late shows nothing, and is a first one.
      if (performance.now() - beforeMs > 1_500) firstMs = nowMs;
      else expect(entry).toBe("kept");
      beforeMs = nowMs;
      await sleep(700);
    } while (beforeMs - firstMs < 2_500);
    await sleep(2_100);
    expect(await entryOf(ask)).toBe("made");
  });

  test("without affinity every connection chooses for itself", async () => {
    program("abc");
    await call();
    program("abc", { affinitySec: 0 });
    expect(await entryOf(() => call())).toBe("none");
    const seen = new Set<string>();
    for (let i = 0; i < 60 && seen.size < 3; i++) seen.add(await call());
    expect(seen.size).toBe(3);
  });
});

test("an agent that is started anew keeps every entry", async () => {
  program("abc");
  const letter = await steady();
  const rows = bed.rawRows("pt_affinity");
  await startAgent();
  program("abc");
  expect(bed.rawRows("pt_affinity")).toEqual(rows);
  expect(await steady(20)).toBe(letter);
});

test("the entry is the ServicePort's: one for all its frontends, none of another port", async () => {
  program("abc");
  programmer.apply({ upserted: [unit("a/web:other", "abc", { port: 81 })], removed: [] });
  const letter = await call();
  for (let i = 0; i < 5; i++) {
    expect(await call(EXTERNAL)).toBe(letter);
    expect(await call(HOST.v4, NODE_PORT)).toBe(letter);
  }
  expect(await entryOf(() => call(VIP, 81))).toBe("made");
  expect(bed.rawRows("pt_affinity")).toHaveLength(2);
});
