// SPDX-License-Identifier: Apache-2.0
// What becomes of several servers and their storage from moment to moment, at random; and how it ends.

import { CALM, type ChaosServer, type Temper } from "./chaos-server.ts";
import type { Book, ChaosWorld } from "./chaos-world.ts";
import type { Random } from "./damage.ts";

/** What may happen besides all that an honest server can do. */
export interface Vices {
  /** Watches whose lines come twice, out of order or not at all. */
  readonly lies: boolean;
  /** Backups that are put back: in such a way that no version is ever given out twice, or in any. */
  readonly restores: "none" | "bumped" | "any";
}

export interface WeatherOptions extends Vices {
  readonly pick: Random;
  readonly world: ChaosWorld;
  readonly book: Book;
  readonly servers: readonly ChaosServer[];
  /** Whether a list that lacks nearly everything can be known for what it is: there is something to compare it with. */
  readonly mayShorten: () => boolean;
}

export class Weather {
  readonly #options: WeatherOptions;
  /** No backup is older than this. */
  readonly #first: number;

  constructor(options: WeatherOptions) {
    this.#options = options;
    this.#first = options.world.history.version;
  }

  change(): void {
    const { pick, servers, world } = this.#options;
    const server = servers[pick(servers.length)];
    if (server === undefined) return;
    switch (pick(9)) {
      case 0:
      case 1:
        server.temper = this.#temper();
        break;
      case 2:
        server.temper = CALM;
        break;
      case 3:
        server.transport.refusing = !server.transport.refusing;
        if (server.transport.refusing) server.transport.dropConnections();
        break;
      case 4:
        server.behind = server.behind === null ? world.history.version - pick(100) : null;
        server.pump();
        break;
      case 5:
        world.history.compact();
        if (pick(2) === 0) for (const { transport } of servers) transport.dropConnections();
        break;
      case 6:
        server.transport.dropConnections();
        break;
      case 7:
        for (const { transport } of servers) transport.refusing = false;
        break;
      default:
        if (this.#options.restores !== "none" && pick(6) === 0) this.#restore();
    }
  }

  calm(): void {
    for (const server of this.#options.servers) {
      server.temper = CALM;
      server.behind = null;
      server.transport.refusing = false;
      server.pump();
    }
  }

  #temper(): Temper {
    const { pick, lies, mayShorten } = this.#options;
    return {
      refusals: pick(3) === 0 ? 0 : pick(700),
      breaks: pick(3) === 0 ? 0 : pick(900),
      lies: lies ? pick(100) : 0,
      shorts: mayShorten() ? pick(2) * 700 : 0,
    };
  }

  /** Every server is stopped for it. */
  #restore(): void {
    const { pick, world, book, servers, restores } = this.#options;
    const { history } = world;
    book.restore();
    const back = pick(Math.min(400, history.version - this.#first + 1));
    history.restore(history.version - back, restores === "bumped" || pick(3) === 0);
    for (const { transport } of servers) transport.dropConnections();
  }
}
