// SPDX-License-Identifier: Apache-2.0
// Connections by Service, for the metrics: a bounded number of Services has a series of its own, and keeps it while it has
// connections, so that a scrape after the other tells of the same ones. The others are counted together.

import { setImmediate as turn } from "node:timers/promises";

const MOST_SERIES = 100;
/** Units read before anybody else gets a turn. */
const SLICE = 512;

export class ServiceConnections {
  readonly #most: number;
  readonly #named = new Set<string>();

  constructor(mostSeries = MOST_SERIES) {
    this.#most = mostSeries;
  }

  /** Connections by "namespace/name", and of all others under "". */
  async read(units: Iterable<readonly [service: string, connections: number]>): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    let seen = 0;
    let others = 0;
    for (const [service, connections] of units) {
      if (connections > 0) counts.set(service, (counts.get(service) ?? 0) + connections);
      others += connections;
      if (++seen % SLICE === 0) await turn();
    }
    this.#name(counts);
    const report = new Map<string, number>();
    for (const service of this.#named) {
      const count = counts.get(service) ?? 0;
      report.set(service, count);
      others -= count;
    }
    return report.set("", others);
  }

  /** Who has none gives its place to whoever has most. */
  #name(counts: ReadonlyMap<string, number>): void {
    for (const service of this.#named) if (!counts.has(service)) this.#named.delete(service);
    const free = this.#most - this.#named.size;
    if (free === 0) return;
    const waiting = [...counts].filter(([service]) => !this.#named.has(service)).sort(([, a], [, b]) => b - a);
    for (const [service] of waiting.slice(0, free)) this.#named.add(service);
  }
}
