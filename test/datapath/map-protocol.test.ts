// SPDX-License-Identifier: Apache-2.0
// The order of writes that no lookup may see through: two CPUs look up while Services flip, and a writer that dies after
// any single store leaves tables that work. Freed slots and backends lead to a canary.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { gracePeriod } from "libbpf-ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FlipWriter, type Mutation, type Stores } from "./flip-writer.ts";
import { Probe, type Verdicts } from "./probe.ts";

const SERVICES = 48;
/** Of the two CPUs together. */
const LOOKUPS = 2_000_000;
/** Lookups that dawdle while they hold an extent: fewer of them. */
const LINGER = { steps: 4000, lookups: 60_000 };
/** Of every Service, at least: on a busy machine a grace period takes its time. */
const ROUNDS = 12;
/** What is not found by then never is. */
const WITHIN_MS = 240_000;

let probe: Probe;
let writer: FlipWriter;
let runners: ChildProcess[] = [];

const finish = (stores: Stores): void => {
  for (const _ of stores);
};

beforeEach(() => {
  probe = new Probe(SERVICES);
  writer = new FlipWriter(probe.object, SERVICES);
});

afterEach(async () => {
  for (const runner of runners) await stop(runner);
  runners = [];
  writer.close();
  probe.close();
});

async function stop(runner: ChildProcess): Promise<void> {
  if (runner.exitCode !== null || runner.signalCode !== null) return;
  const gone = once(runner, "exit");
  runner.stdin?.end();
  await gone;
}

/** A process pinned to a CPU that looks up until it is stopped. */
function startRunner(cpu: number): ChildProcess {
  const script = join(import.meta.dirname, "probe-runner.ts");
  const command = ["-c", String(cpu), process.execPath, script, String(probe.program.info.id)];
  const runner = spawn("taskset", command, { stdio: ["pipe", "inherit", "inherit"] });
  runners.push(runner);
  return runner;
}

/** Flips all Services over and over until `enough` says so, or time is over; resolves to what was found. */
async function flipUnderLoad(
  mutation: Mutation,
  enough: (found: Verdicts, rounds: number) => boolean,
): Promise<Verdicts> {
  for (let n = 0; n < SERVICES; n++) finish(writer.add(n));
  const endMs = performance.now() + WITHIN_MS;
  for (const cpu of [0, 1]) startRunner(cpu);
  let found: Verdicts = probe.take();
  for (let k = 1; performance.now() < endMs && !enough(found, k - 1); k++) {
    const graceless = mutation === "reuse without grace";
    for (let n = 0; n < SERVICES; n++) {
      finish(writer.flip(n, k, mutation));
      if (graceless) finish(writer.retire(n, k));
    }
    await (graceless ? new Promise(setImmediate) : gracePeriod());
    for (let n = 0; n < SERVICES && !graceless; n++) finish(writer.retire(n, k));
    found = sum(found, probe.take());
  }
  await Promise.all(runners.map(stop));
  // Now none is half counted.
  return sum(found, probe.take());
}

function sum(found: Verdicts, more: Verdicts): Verdicts {
  const counts = Object.entries(more).map(([name, count]) => [name, count + found[name as keyof Verdicts]]);
  return Object.fromEntries(counts) as unknown as Verdicts;
}

/** Nobody ever finds anything but a member, however often they look. */
async function expectMembers(lookups: number): Promise<void> {
  const found = await flipUnderLoad("none", (so, rounds) => so.lookups >= lookups && rounds >= ROUNDS);
  expect(found.lookups).toBeGreaterThanOrEqual(lookups);
  expect(found).toEqual({ ...found, strangers: 0, missing: 0, rejected: 0, dropped: 0, members: found.lookups });
}

/** The order of writing is broken: somebody finds what nobody may. */
async function expectCaught(mutation: Mutation): Promise<void> {
  const found = await flipUnderLoad(mutation, ({ strangers }) => strangers > 0);
  expect(found.strangers).toBeGreaterThan(0);
}

/** A probe whose lookups dawdle, in place of the quick one. */
function useLingering(inPlace = false): void {
  writer.close();
  probe.close();
  probe = new Probe(SERVICES, LINGER.steps);
  writer = new FlipWriter(probe.object, SERVICES, inPlace);
}

/** Sets take each other's slots. */
function useInPlace(): void {
  writer.close();
  writer = new FlipWriter(probe.object, SERVICES, true);
}

test("two million lookups on two CPUs while Services flip: always a member", async () => {
  await expectMembers(LOOKUPS);
}, 300_000);

test("lookups that are held up between two reads: always a member", async () => {
  useLingering();
  await expectMembers(LINGER.lookups);
}, 300_000);

test("in place, two million lookups on two CPUs: always a member", async () => {
  useInPlace();
  await expectMembers(LOOKUPS);
}, 300_000);

test("in place, lookups that are held up between two reads: always a member", async () => {
  useLingering(true);
  await expectMembers(LINGER.lookups);
}, 300_000);

test("twin, must be caught: in place, a slot before its backend is written", async () => {
  useInPlace();
  await expectCaught("a slot before its backend is written");
}, 300_000);

test("twin, must be caught: publishing before the slots are written", async () => {
  await expectCaught("publish before the slots are written");
}, 300_000);

test("twin, must be caught: reuse without grace", async () => {
  useLingering();
  await expectCaught("reuse without grace");
}, 300_000);

describe("a crash after any single store", () => {
  /** After each store: enough lookups to meet every slot. Returns the stores after which one went wrong. */
  function wrongAfter(stores: Stores, right: (found: Verdicts) => boolean): number[] {
    const wrong: number[] = [];
    let step = 0;
    for (const _ of stores) {
      step++;
      probe.run(400);
      if (!right(probe.take())) wrong.push(step);
    }
    expect(step).toBeGreaterThan(2);
    return wrong;
  }
  const onlyMembers = ({ lookups, members }: Verdicts): boolean => members === lookups;

  beforeEach(() => {
    probe.close();
    probe = new Probe(1);
    writer.close();
    writer = new FlipWriter(probe.object, 1);
  });

  test("adding a Service", () => {
    expect(wrongAfter(writer.add(0), (found) => found.members + found.missing === found.lookups)).toEqual([]);
  });

  test("changing its endpoints", async () => {
    finish(writer.add(0));
    for (let k = 1; k < 10; k++) {
      expect(wrongAfter(writer.flip(0, k), onlyMembers)).toEqual([]);
      await gracePeriod();
      expect(wrongAfter(writer.retire(0, k), onlyMembers)).toEqual([]);
    }
  });

  test("changing its endpoints in place", async () => {
    writer.close();
    writer = new FlipWriter(probe.object, 1, true);
    finish(writer.add(0));
    for (let k = 1; k < 10; k++) {
      expect(wrongAfter(writer.flip(0, k), onlyMembers)).toEqual([]);
      await gracePeriod();
      expect(wrongAfter(writer.retire(0, k), onlyMembers)).toEqual([]);
    }
  });

  test("removing it", () => {
    finish(writer.add(0));
    const gone = ({ members, missing, lookups }: Verdicts): boolean => members + missing === lookups;
    expect(wrongAfter(writer.remove(0, 1), gone)).toEqual([]);
  });

  test("twin, must be caught: publishing first", () => {
    finish(writer.add(0));
    expect(wrongAfter(writer.flip(0, 1, "publish before the slots are written"), onlyMembers)).not.toEqual([]);
  });
});
