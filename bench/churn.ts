// SPDX-License-Identifier: Apache-2.0
// Changes of single endpoints at a steady rate, and the time from the watch event's last byte handed to the socket until
// another process sees the new set in the kernel's maps.

import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import type { ApiServer } from "./api-server.ts";
import type { Observer } from "./observer.ts";
import type { BenchService } from "./services.ts";

const LOST_MS = 10_000;

interface Pending {
  readonly service: BenchService;
  readonly id: number;
  /** Which backends were in use before the change. */
  readonly members: string;
  readonly sentAt: number;
}

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
  #sent = 0;

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
    const start = performance.now();
    for (let n = 0; n < count; n++) {
      const due = start + (n * 1000) / perSecond;
      await this.#watchUntil(due);
      await this.#send();
    }
    await this.#watchUntil(Number.POSITIVE_INFINITY);
    return Float64Array.from(this.#latencies);
  }

  async #send(): Promise<void> {
    // A stride that visits every Service before any comes again.
    const index = (this.#sent * 7_919) % this.#services.length;
    const service = this.#services[index];
    if (!service) throw new Error("no Services");
    const next = replaced(service, this.#sent % service.endpoints.length, freshAddress(++this.#sent));
    const id = this.#observer.serviceId(service);
    this.#services[index] = next;
    const members = this.#observer.members(id);
    const send = this.#api.changeSlice(next);
    const sentAt = performance.now();
    this.#pending.set(service.name, { service: next, id, members, sentAt });
    await send();
  }

  /** Looks at what is under way, without rest while there is something, until `due` or until there is nothing. */
  async #watchUntil(due: number): Promise<void> {
    while (performance.now() < due) {
      this.#look();
      if (this.#pending.size > 0) await turn();
      else if (due === Number.POSITIVE_INFINITY) return;
      else await sleep(Math.max(0, due - performance.now() - 1));
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
