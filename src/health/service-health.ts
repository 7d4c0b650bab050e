// SPDX-License-Identifier: Apache-2.0
// The health checks of load balancers that ask each node whether it has endpoints of a Service: a server for each Service
// of type LoadBalancer with externalTrafficPolicy Local, on its healthCheckNodePort, in each of its families.

import type { Server } from "node:http";
import type { Family, ServiceKey } from "../model/types.ts";
import { answering, json, type Route } from "./answer.ts";
import { closeServer, listen } from "./listening.ts";

/** What is wanted for one Service. */
export interface ServiceCheck {
  readonly namespace: string;
  readonly name: string;
  /** healthCheckNodePort. */
  readonly port: number;
  /** Ready endpoints on this node, by the families that the Service has. */
  readonly localEndpoints: ReadonlyMap<Family, number>;
}

export interface ServiceHealthOptions {
  /** The proxy's own health; whether the node is eligible does not matter here. */
  readonly healthy: () => boolean;
  /** The addresses to listen at; null: every one of the family. */
  readonly addresses: (family: Family) => readonly string[] | null;
  /** A port could not be had. It is tried again at the next sync. */
  readonly onFailure: (check: ServiceCheck, error: Error) => void;
}

/** The listeners of one Service in one family: all of them, or none. */
interface Opened {
  readonly service: ServiceKey;
  readonly port: number;
  /** "*", or the addresses. */
  readonly at: string;
  readonly servers: readonly Server[];
  failed: boolean;
}

const EVERY: Readonly<Record<Family, string>> = { 4: "0.0.0.0", 6: "::" };

export class ServiceHealth {
  readonly #options: ServiceHealthOptions;
  readonly #wanted = new Map<ServiceKey, ServiceCheck>();
  /** By "family namespace/name". */
  readonly #opened = new Map<string, Opened>();
  #closed = false;

  constructor(options: ServiceHealthOptions) {
    this.#options = options;
  }

  /** Null: the Service wants no check (any more). Ports follow at the next sync(). */
  set(service: ServiceKey, check: ServiceCheck | null): void {
    if (check === null) this.#wanted.delete(service);
    else this.#wanted.set(service, check);
  }

  get size(): number {
    return this.#wanted.size;
  }

  /**
   * After each successful sync, and when the addresses are others: closes what is not wanted, then opens what is, and
   * what could not be had before.
   */
  sync(): void {
    if (this.#closed) return;
    const keep = new Set<string>();
    const missing: [string, ServiceKey, Family][] = [];
    for (const [service, { port, localEndpoints }] of this.#wanted) {
      for (const family of localEndpoints.keys()) {
        const key = `${family} ${service}`;
        const opened = this.#opened.get(key);
        const same = opened?.port === port && opened.at === this.#at(family) && !opened.failed;
        if (same) keep.add(key);
        else missing.push([key, service, family]);
      }
    }
    for (const key of this.#opened.keys()) if (!keep.has(key)) this.#close(key);
    for (const [key, service, family] of missing) this.#open(key, service, family);
  }

  /** Closes all of them, for good. */
  async close(): Promise<void> {
    this.#closed = true;
    const servers = [...this.#opened.values()].flatMap((opened) => opened.servers);
    this.#opened.clear();
    this.#wanted.clear();
    await Promise.all(servers.map(closeServer));
  }

  #at(family: Family): string {
    return this.#options.addresses(family)?.join() ?? "*";
  }

  #close(key: string): void {
    const opened = this.#opened.get(key);
    this.#opened.delete(key);
    for (const server of opened?.servers ?? []) void closeServer(server);
  }

  #open(key: string, service: ServiceKey, family: Family): void {
    const check = this.#wanted.get(service);
    if (check === undefined) return;
    const hosts = this.#options.addresses(family) ?? [EVERY[family]];
    const route = this.#route(service, family);
    const servers = hosts.map(() => answering(route));
    const opened: Opened = { service, port: check.port, at: this.#at(family), servers, failed: false };
    this.#opened.set(key, opened);
    const network = family === 4 ? "tcp4" : "tcp6";
    const all = servers.map((server, i) => listen(server, { host: hosts[i] ?? "", port: check.port, network }));
    void Promise.allSettled(all).then((results) => {
      const error = results.find(({ status }) => status === "rejected") as PromiseRejectedResult | undefined;
      const current = this.#opened.get(key) === opened;
      if (current && error === undefined) return;
      // One address that cannot be had closes the others; and what opened too late to be wanted is closed, too.
      opened.failed = true;
      for (const server of servers) void closeServer(server);
      if (current && error !== undefined) this.#options.onFailure(check, error.reason as Error);
    });
  }

  #route(service: ServiceKey, family: Family): Route {
    return () => {
      const check = this.#wanted.get(service);
      const count = check?.localEndpoints.get(family) ?? 0;
      const healthy = this.#options.healthy();
      const [namespace, name] = service.split("/");
      const body = { service: { namespace, name }, localEndpoints: count, serviceProxyHealthy: healthy };
      const weight = { "X-Load-Balancing-Endpoint-Weight": String(count) };
      return json(count > 0 && healthy ? 200 : 503, JSON.stringify(body, null, "\t"), weight);
    };
  }
}
