// SPDX-License-Identifier: Apache-2.0
// The agent for a long time under constant change: Services and endpoints come and go, connections to the API server are
// cut. Every minute what the API server lists is compared with the maps, which nobody but this reads for it.

import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Daemon } from "../test/support/daemon.ts";
import type { ApiServer } from "./api-server.ts";
import { Bed } from "./bed.ts";
import { treeBytes } from "./memory.ts";
import { Observer } from "./observer.ts";
import { expectEverything, report, type Scene, scene, start } from "./scene.ts";
import { type BenchService, benchServices } from "./services.ts";

export interface SoakOptions {
  readonly seconds: number;
  /** Changes a second. */
  readonly rate: number;
}

const SERVICES = 1_000;
const CHECK_MS = 60_000;
const DIVERGENCE_MS = 5_000;
const CUT_MS = 90_000;
const SAMPLE_MS = 5_000;
/** What the start leaves behind is not a trend. */
const WARM_UP = 0.3;
const FDS_OFF = 2;
const MIB = 2 ** 20;

interface ListedSlice {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly endpoints: readonly { readonly addresses: readonly string[] }[];
  readonly ports: readonly { readonly port: number }[];
}

/** Changes one Service in turn: one endpoint in most cases, now and then the whole of it comes or goes. */
class Changes {
  readonly #api: ApiServer;
  readonly #all: BenchService[];
  readonly #gone = new Set<number>();
  #count = 0;

  constructor(api: ApiServer, services: readonly BenchService[]) {
    this.#api = api;
    this.#all = [...services];
  }

  get count(): number {
    return this.#count;
  }

  /** Those that are there. */
  get services(): BenchService[] {
    return this.#all.filter((_, index) => !this.#gone.has(index));
  }

  next(): void {
    const n = this.#count++;
    const index = (n * 389) % this.#all.length;
    const service = this.#all[index];
    if (service === undefined) return;
    if (n % 20 === 7) {
      this.#api.remove(service);
      this.#gone.add(index);
      return;
    }
    const fresh = `10.${140 + ((n >>> 16) & 63)}.${(n >>> 8) & 255}.${n & 255}`;
    const endpoints = service.endpoints.map((address, i) => (i === n % service.endpoints.length ? fresh : address));
    const changed = { ...service, endpoints };
    this.#all[index] = changed;
    this.#gone.delete(index);
    this.#api.put(changed);
  }
}

/** What the API server lists, as the maps should have it: endpoints by Service. */
async function listed(api: ApiServer): Promise<Map<string, string>> {
  const answer = await fetch(`${api.url}/apis/discovery.k8s.io/v1/endpointslices`);
  const { items } = (await answer.json()) as { items: readonly ListedSlice[] };
  return new Map(
    items.map(({ metadata, endpoints, ports }) => [
      metadata.labels["kubernetes.io/service-name"] ?? "",
      endpoints
        .map(({ addresses }) => `${addresses[0]}:${ports[0]?.port}`)
        .sort()
        .join(),
    ]),
  );
}

/** Services that the maps have otherwise than the API server. */
async function differing(api: ApiServer, observer: Observer, services: readonly BenchService[]): Promise<string[]> {
  const wanted = await listed(api);
  return services
    .filter((service) => {
      const id = observer.serviceId(service);
      const is = id === 0 ? undefined : observer.endpoints(id).sort().join();
      return is !== wanted.get(service.name);
    })
    .map(({ name }) => name);
}

/** Names of Services that differ for longer than is allowed. */
async function diverging(api: ApiServer, observer: Observer, services: readonly BenchService[]): Promise<string[]> {
  let left = await differing(api, observer, services);
  const end = performance.now() + DIVERGENCE_MS;
  while (left.length > 0 && performance.now() < end) {
    await sleep(100);
    const now = new Set(await differing(api, observer, services));
    left = left.filter((name) => now.has(name));
  }
  return left;
}

interface Sample {
  readonly hours: number;
  readonly mib: number;
}

/** MiB an hour, by least squares. */
function slope(samples: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / Math.max(1, samples.length);
  const hours = mean((sample) => sample.hours);
  const mib = mean((sample) => sample.mib);
  const spread = samples.reduce((sum, sample) => sum + (sample.hours - hours) ** 2, 0);
  const both = samples.reduce((sum, sample) => sum + (sample.hours - hours) * (sample.mib - mib), 0);
  return spread === 0 ? 0 : both / spread;
}

const openFiles = (agent: Daemon): number => readdirSync(`/proc/${agent.pid}/fd`).length;

interface Watched {
  readonly samples: readonly Sample[];
  readonly diverged: readonly string[];
  readonly checks: number;
  readonly cuts: number;
  readonly fds: readonly [first: number, last: number];
}

async function watch(
  { api }: Scene,
  { agent, changes, observer }: { agent: Daemon; changes: Changes; observer: Observer },
  { seconds, rate }: SoakOptions,
): Promise<Watched> {
  const started = performance.now();
  const all = benchServices(SERVICES);
  const samples: Sample[] = [];
  const diverged: string[] = [];
  const fds: number[] = [];
  let checks = 0;
  let cuts = 0;
  const timer = setInterval(() => changes.next(), 1_000 / rate);
  const cutter = setInterval(() => {
    cuts++;
    api.disconnect();
  }, CUT_MS);
  try {
    for (let nextCheck = Math.min(CHECK_MS, (seconds * 1_000) / 2); performance.now() - started < seconds * 1_000; ) {
      await sleep(SAMPLE_MS);
      const elapsed = performance.now() - started;
      samples.push({ hours: elapsed / 3_600_000, mib: treeBytes(agent.pid) / MIB });
      fds.push(openFiles(agent));
      if (elapsed < nextCheck) continue;
      nextCheck += CHECK_MS;
      checks++;
      diverged.push(...(await diverging(api, observer, all)));
    }
  } finally {
    clearInterval(timer);
    clearInterval(cutter);
  }
  const warm = Math.floor(samples.length * WARM_UP);
  return { samples: samples.slice(warm), diverged, checks, cuts, fds: [fds[warm] ?? 0, fds.at(-1) ?? 0] };
}

/** Runs it and prints what happened beside the bars; true if they were met. */
export async function soak(options: SoakOptions): Promise<boolean> {
  const bed = await Bed.open();
  try {
    const services = benchServices(SERVICES);
    const place = await scene(bed, "soak", services);
    const { agent } = await start(place);
    using observer = new Observer(place.home.maps);
    expectEverything(observer, services);
    const changes = new Changes(place.api, services);
    const seen = await watch(place, { agent, changes, observer }, options);
    await sleep(DIVERGENCE_MS);
    const missed = await differing(place.api, observer, services);
    const left = observer.units() - changes.services.length;
    const { source, audit, loopDelay, programmer } = await report(place.home);
    await agent.stop();
    const [first, last] = seen.fds;
    const steady = Math.abs(last - first) <= FDS_OFF;
    const passed = seen.diverged.length + missed.length + audit.repairedTotal === 0 && left === 0 && steady;
    console.log(`${changes.count} changes in ${options.seconds} s, connections cut ${seen.cuts} times`);
    console.log(`  other than listed for over 5 s     ${seen.diverged.length} in ${seen.checks} checks (bar 0)`);
    console.log(`  events missed at the end           ${missed.length + Math.abs(left)} (bar 0)`);
    console.log(`  repaired by audits                 ${audit.repairedTotal} in ${audit.audits} (bar 0)`);
    console.log(`  open files                         ${first} then ${last} (bar ±${FDS_OFF})`);
    console.log(
      `  resident memory                    ${seen.samples.at(-1)?.mib.toFixed(1)} MiB, ${slope(seen.samples).toFixed(2)} MiB/h`,
    );
    console.log(`  event loop held up                 ${loopDelay.since.maxMs.toFixed(0)} ms at most`);
    console.log(
      `  counters                           ${JSON.stringify({ ...source.counters, writes: programmer.writes })}`,
    );
    console.log(passed ? "pass" : `FAIL ${[...seen.diverged, ...missed].slice(0, 10).join(" ")}`);
    return passed;
  } finally {
    await bed.close();
  }
}
