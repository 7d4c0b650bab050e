// SPDX-License-Identifier: Apache-2.0
// The source on three servers that do anything at all, for minutes of its clock: nothing that is there is ever taken away,
// nothing goes back, no event is missed that was told, nobody is hammered, and when all is well again everything is as it
// should be. CHAOS_STEPS and CHAOS_SEED make it longer, and another.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EndpointSlice, Service } from "../../../src/model/types.ts";
import { KubernetesSource } from "../../../src/source/kubernetes.ts";
import type { SourceSink } from "../../../src/source/source.ts";
import { FaultApiServer } from "../../support/api-server.ts";
import { ChaosServer } from "../../support/chaos-server.ts";
import { type Vices, Weather } from "../../support/chaos-weather.ts";
import { Book, ChaosWorld } from "../../support/chaos-world.ts";
import { type Random, random } from "../../support/damage.ts";
import { kubeconfig } from "./objects.ts";
import { ScaledClock } from "./scaled-clock.ts";

const FACTOR = 100;
const SECOND = 1_000 / FACTOR;
const SERVICES = 150;
const STEPS = Number(process.env["CHAOS_STEPS"] ?? 600);
const SEED = Number(process.env["CHAOS_SEED"] ?? 1);
/** On the source's clock, from the last fault on. */
const RECOVERED_SEC = 600;
/** For one kind of object, in ten seconds: each of three servers a few times, and what compares and checks. */
const REQUESTS = 30;

let dir: string;
let source: KubernetesSource | null;
const transports: FaultApiServer[] = [];
const servers: ChaosServer[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), `portolan-chaos-${process.pid}-`));
  source = null;
});
afterEach(async () => {
  await source?.stop();
  for (const server of servers.splice(0)) server.close();
  for (const transport of transports.splice(0)) await transport.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** Writes down what it is told. */
class BookSink implements SourceSink {
  completed = false;
  readonly #book: Book;

  constructor(book: Book) {
    this.#book = book;
  }

  service(key: string, object: Service | null): void {
    this.#book.told("services", key, object === null ? null : (object.ports[0]?.port ?? 0));
  }

  endpointSlice(key: string, object: EndpointSlice | null): void {
    this.#book.told("endpointslices", key, object === null ? null : (object.ports[0]?.port ?? 0));
  }

  synced(): void {}

  problems(): void {}

  complete(): void {
    this.completed = true;
  }
}

/** Three servers on one storage, each of its own age; answers their addresses. */
async function openServers(world: ChaosWorld, pick: Random): Promise<readonly string[]> {
  for (let n = 0; n < 3; n++) {
    const server = await FaultApiServer.start();
    transports.push(server);
    server.watchList = (["works", "works", "refused", "unable", "ignored"] as const)[pick(5)] ?? "works";
    servers.push(new ChaosServer({ server, history: world.history, pick, second: SECOND }));
  }
  return servers.map(({ url }) => url);
}

/** Seconds until all is as it should be, and what then is not. */
async function recovery(
  { world, clock }: { readonly world: ChaosWorld; readonly clock: ScaledClock },
  book: Book,
  sink: BookSink,
): Promise<{ sec: number; left: string[] }> {
  const calmMs = clock.now();
  // Somebody always changes something.
  const life = setInterval(() => world.step(), 10 * SECOND);
  let left: string[];
  let sec: number;
  do {
    await sleep(SECOND);
    left = book.differing();
    sec = (clock.now() - calmMs) / 1_000;
  } while (sec < RECOVERED_SEC && (left.length > 0 || !sink.completed || source?.status().state !== "synced"));
  clearInterval(life);
  return { sec, left };
}

/** The most requests for one kind of object in ten seconds; a list's further pages are none of their own. */
function busiest(resource: string): number {
  const times = transports
    .flatMap(({ requests }) => requests)
    .filter((seen) => seen.resource === resource && !seen.query.has("continue"))
    .map(({ atMs }) => atMs / 1_000)
    .sort((a, b) => a - b);
  return Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 10).length));
}

async function run(seed: number, vices: Vices): Promise<void> {
  const pick = random(seed);
  const world = new ChaosWorld(pick, SERVICES);
  const book = new Book(world.history);
  const [configured = "", ...others] = await openServers(world, pick);
  const clock = new ScaledClock(FACTOR, () => pick(1_000) / 1_000);
  for (const transport of transports) transport.clock = clock;
  const options = {
    kubeconfig: kubeconfig(dir, configured),
    servers: others,
    stateDir: null,
    clock,
    compareMs: 40_000,
  };
  source = await KubernetesSource.load(options);
  const sink = new BookSink(book);
  const weather = new Weather({ ...vices, pick, world, book, servers, mayShorten: () => sink.completed });
  source.start(sink);
  for (let step = 0; step < STEPS; step++) {
    if (step % 5 === 0) weather.change();
    world.step();
    await sleep(pick(6));
  }
  weather.calm();
  const { sec, left } = await recovery({ world, clock }, book, sink);
  const { counters, reason } = source.status();
  const rate = Math.max(busiest("services"), busiest("endpointslices"));
  console.log(
    `seed ${seed}: ${world.writes} writes, recovered in ${sec.toFixed(0)} s, ${rate} requests in 10 s at most`,
    JSON.stringify(Object.fromEntries(Object.entries(counters).filter(([, count]) => count > 0))),
  );
  expect(book.wrong).toEqual([]);
  expect(left, reason ?? "").toEqual([]);
  expect(rate).toBeLessThanOrEqual(REQUESTS);
  if (!vices.lies && vices.restores === "none") expect(counters["missed_events"]).toBe(0);
}

test("servers that fail in every way", () => run(SEED, { lies: false, restores: "none" }));
test("and backups that are put back", () => run(SEED + 1, { lies: false, restores: "any" }));
test("and streams that tell things twice, too late or not at all", () =>
  run(SEED + 2, { lies: true, restores: "none" }));
