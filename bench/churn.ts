// SPDX-License-Identifier: Apache-2.0
// Changes of single endpoints at a steady rate, and the time from just before the watch event is written to the socket
// until another process sees the new set in the kernel's maps. Events are made before the first is sent, and between two
// looks the observer rests: what it does must not take the time that it measures.

import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import type { ApiServer } from "./api-server.ts";
import type { Observer } from "./observer.ts";
import type { BenchService } from "./services.ts";

const LOST_MS = 10_000;
/** Between two looks at the maps. */
const REST_MS = 0.1;

/** Made before it is sent. */
interface Change {
  readonly service: BenchService;
  readonly id: number;
  readonly send: () => Promise<void>;
}

interface Pending extends Change {
  /** Which backends were in use before the change. */
  readonly members: string;
  readonly sentAt: number;
}

/** Nobody wakes who waits for this: the event loop has no timer below a millisecond. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** The Service with its n-th endpoint replaced by a new address, which nobody else has. */
function replaced(service: BenchService, n: number, address: string): BenchService {
  return { ...service, endpoints: service.endpoints.map((old, i) => (i === n ? address : old)) };
}

/** 10.140.0.0 and up: no Service of the benchmark begins with these. */
const freshAddress = (n: number): string => `10.${140 + (n >>> 16)}.${(n >>> 8) & 255}.${n & 255}`;

function expectSet(observer: Observer, { service, id }: Pending): void {
  const seen = observer.endpoints(id).sort();
  const wanted = service.endpoints.map((address) => `${address}:${service.targetPort}`).sort();
  if (seen.join() !== wanted.join())
    throw new Error(`${service.name}: the kernel has ${seen.join()}, not ${wanted.join()}`);
}

export class Churn {
  readonly #api: ApiServer;
  readonly #observer: Observer;
  readonly #services: BenchService[];
  #latencies: number[] = [];
  /** Keyed by Service: at most one change of a Service is under way. */
  #pending = new Map<string, Pending>();
  #made = 0;

  constructor(api: ApiServer, observer: Observer, services: readonly BenchService[]) {
    this.#api = api;
    this.#observer = observer;
    this.#services = [...services];
  }

  /** As they are now. */
  get services(): readonly BenchService[] {
    return this.#services;
  }

  /**
   * Sends `count` events at `perSecond`, each to another Service, and waits until every one is in the kernel. Gives the
   * milliseconds that each took.
   */
  async run(count: number, perSecond: number): Promise<Float64Array> {
    this.#latencies = [];
    const changes = Array.from({ length: count }, () => this.#make());
    const start = performance.now();
    for (const [n, change] of changes.entries()) {
      await this.#watchUntil(start + (n * 1000) / perSecond);
      await this.#send(change);
    }
    await this.#watchUntil(Number.POSITIVE_INFINITY);
    return Float64Array.from(this.#latencies);
  }

  #make(): Change {
    // A stride that visits every Service before any comes again.
    const index = (this.#made * 7_919) % this.#services.length;
    const service = this.#services[index];
    if (!service) throw new Error("no Services");
    const next = replaced(service, this.#made % service.endpoints.length, freshAddress(++this.#made));
    this.#services[index] = next;
    return { service: next, id: this.#observer.serviceId(service), send: this.#api.changeSlice(next) };
  }

  async #send(change: Change): Promise<void> {
    const members = this.#observer.members(change.id);
    const sentAt = performance.now();
    this.#pending.set(change.service.name, { ...change, members, sentAt });
    await change.send();
  }

  /** Looks at what is under way, ten times a millisecond, until `due` or until there is nothing. */
  async #watchUntil(due: number): Promise<void> {
    for (;;) {
      this.#look();
      const leftMs = due - performance.now();
      if (leftMs <= 0) return;
      if (this.#pending.size > 0) {
        await turn();
        Atomics.wait(NEVER, 0, 0, REST_MS);
      } else if (leftMs === Number.POSITIVE_INFINITY) return;
      else await sleep(Math.max(0, leftMs - 1));
    }
  }

  #look(): void {
    for (const [name, pending] of this.#pending) {
      const now = performance.now();
      if (this.#observer.members(pending.id) !== pending.members) {
        expectSet(this.#observer, pending);
        this.#latencies.push(now - pending.sentAt);
        this.#pending.delete(name);
      } else if (now - pending.sentAt > LOST_MS) {
        throw new Error(`${name}: changed ${LOST_MS} ms ago and not in the kernel`);
      }
    }
  }
}
