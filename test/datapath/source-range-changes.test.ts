// SPDX-License-Identifier: Apache-2.0
// Source ranges that change under callers: who is in the old ranges and in the new ones is never turned away, who is in
// neither never let in. The agent's own writing, and processes that connect all the while.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Maps } from "../../src/datapath/maps.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { frontend, makeUnit } from "../support/units.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST } from "./bed.ts";

const VIP = "192.0.2.10";
const INSIDE = HOST.v4;
const OUTSIDE = BACKENDS.v4[0];
/** All of them hold the one address and not the other; no two have a prefix in common. */
const RANGES = [["10.9.0.0/24"], ["10.9.0.0/31", "172.16.0.0/12"], ["10.9.0.1/32", "198.51.100.0/24"]];
const CALLS = 150;
const ROUNDS = 200;

let bed: Bed;
let maps: Maps;
let programmer: Programmer;

beforeAll(async () => {
  bed = await Bed.create();
  maps = Maps.ofObject(bed.object);
  programmer = await Programmer.start(maps, { bindGuard: () => false });
});

afterAll(async () => {
  maps?.close();
  await bed?.close();
});

/** null: open to all. */
function program(prefixes: readonly string[] | null): void {
  const unit = makeUnit({
    name: "a/dns",
    protocol: 17,
    frontends: [frontend("loadBalancer", VIP, 53)],
    endpoints: [`${BACKENDS.v4[1]}:5353/cls`],
    sourceRanges: prefixes === null ? null : { allowHost: false, allowPods: false, prefixes },
  });
  expect(programmer.apply({ upserted: [unit], removed: [] }).refused).toEqual([]);
}

/** Connects from the address again and again, on its own; resolves when it has. */
function callOften(actor: Actor, source: string): Promise<unknown> {
  const lines = ["socket 1 udp 4", `bind 1 ${source} 0`, `connect 1 ${VIP} 53`, "close 1"];
  return Promise.all(Array.from({ length: CALLS * lines.length }, (_, i) => actor.ask(lines[i % lines.length] ?? "")));
}

/** Calls from the address while `change` is carried out very many times; how many calls, let in, turned away. */
async function callWhile(source: string, change: (n: number) => unknown) {
  const actor = bed.actor("host");
  const before = bed.table.stats();
  let changes = 0;
  let rounds = 0;
  for (; rounds < ROUNDS || changes <= 5 * ROUNDS; rounds++) {
    let calling = true;
    const calls = callOften(actor, source).finally(() => {
      calling = false;
    });
    while (calling) {
      await change(changes++);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await calls;
  }
  await programmer.settled();
  const after = bed.table.stats();
  const count = (reason: string): number => (after[reason] ?? 0) - (before[reason] ?? 0);
  return { calls: rounds * CALLS, in: count("CONNECT"), away: count("SOURCE_OUTSIDE") };
}

test("who stays admitted is never turned away, not even when the ranges go or come", async () => {
  const steps = [...RANGES, null];
  program(null);
  const counts = await callWhile(INSIDE, (n) => program(steps[n % steps.length] ?? null));
  expect(counts).toEqual({ ...counts, in: counts.calls, away: 0 });
}, 120_000);

test("who stays outside is never let in", async () => {
  program(RANGES[0] ?? []);
  const counts = await callWhile(OUTSIDE, (n) => program(RANGES[n % RANGES.length] ?? []));
  expect(counts).toEqual({ ...counts, in: 0, away: counts.calls });
}, 120_000);

test("twin: ranges that go before others come turn callers away", async () => {
  program(RANGES[0] ?? []);
  await programmer.settled();
  const [range] = [...maps.sourceRanges()];
  if (range === undefined) throw new Error("no range");
  const counts = await callWhile(INSIDE, async () => {
    maps.deleteSourceRange(range);
    // A caller gets the processor meanwhile, also where there is but one.
    await sleep(1);
    maps.putSourceRange(range);
  });
  expect(counts.away).toBeGreaterThan(0);
}, 120_000);
