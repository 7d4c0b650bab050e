// SPDX-License-Identifier: Apache-2.0
// One of several API servers on one storage, in every mood that servers, and what stands in front of them, were seen in:
// it refuses, hangs, breaks off, trickles, lags, and where that is wanted does not even keep to its own protocol.

import type { ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import { type ApiObject, type FaultApiServer, type SeenRequest, sendStatus } from "./api-server.ts";
import { STREAM_FAULTS, WatchStream } from "./chaos-stream.ts";
import type { ClusterHistory, Stored } from "./cluster-history.ts";
import type { Random } from "./damage.ts";

/** How likely what is, of a thousand. */
export interface Temper {
  /** A request is not answered as it should be. */
  readonly refusals: number;
  /** An answer breaks on its way. */
  readonly breaks: number;
  /** A line of a watch comes twice, too late or not at all; a bookmark goes back. */
  readonly lies: number;
  /** A first relist lacks nearly everything. */
  readonly shorts: number;
}

export const CALM: Temper = { refusals: 0, breaks: 0, lies: 0, shorts: 0 };

export interface ChaosServerOptions {
  readonly server: FaultApiServer;
  readonly history: ClusterHistory;
  readonly pick: Random;
  /** Milliseconds on the wall in a second of the agent's clock. */
  readonly second: number;
}

interface Page {
  readonly version: number;
  readonly items: readonly ApiObject[];
}

const STATUSES = [400, 401, 403, 404, 408, 410, 422, 429, 500, 500, 503, 504];
const BOOKMARK_SEC = 55;

export class ChaosServer {
  temper = CALM;
  /** It hears of nothing after this version; null: of everything at once. */
  behind: number | null = null;
  readonly #options: ChaosServerOptions;
  readonly #streams = new Set<WatchStream>();
  readonly #pages = new Map<string, Page>();
  readonly #bookmarks: NodeJS.Timeout;

  constructor(options: ChaosServerOptions) {
    this.#options = options;
    const { server, history, second } = options;
    server.intercept = (seen, response) => this.#answer(seen, response);
    history.follow(() => this.pump());
    this.#bookmarks = setInterval(() => this.#bookmark(), BOOKMARK_SEC * second);
  }

  get url(): string {
    return this.#options.server.url;
  }

  get transport(): FaultApiServer {
    return this.#options.server;
  }

  close(): void {
    clearInterval(this.#bookmarks);
    for (const stream of this.#streams) stream.close();
  }

  /** Every watch is told what it may know by now. */
  pump(): void {
    for (const stream of this.#streams) this.#feed(stream);
  }

  #feed(stream: WatchStream): void {
    const { history, pick } = this.#options;
    const upTo = this.behind ?? history.version;
    for (const change of history.between(stream.resource, stream.cursor, upTo)) {
      stream.cursor = change.version;
      stream.event(change.type, change.object, pick(1000) < this.temper.lies ? 1 + pick(3) : 0);
    }
  }

  #bookmark(): void {
    const { history, pick } = this.#options;
    const version = this.behind ?? history.version;
    for (const stream of this.#streams) {
      if (pick(1000) < this.temper.lies) stream.bookmark(stream.cursor - pick(50));
      // A server says nothing of what was before that which it was asked for.
      else if (version >= stream.cursor) {
        stream.cursor = version;
        stream.bookmark(version);
      }
    }
  }

  #answer(seen: SeenRequest, response: ServerResponse): boolean {
    const { server, pick } = this.#options;
    if (seen.resource !== "services" && seen.resource !== "endpointslices") return false;
    if (server.token !== null && seen.authorization !== `Bearer ${server.token}`) return false;
    if (pick(1000) < this.temper.refusals) this.#refuse(seen, seen.resource, response);
    else this.#serve(seen, seen.resource, response);
    return true;
  }

  #serve(seen: SeenRequest, resource: Stored, response: ServerResponse): void {
    if (seen.kind === "watch") this.#watch(seen, resource, response);
    else if (this.behind !== null) this.#waitInVain(response);
    else if (seen.kind === "watch-list") this.#watchList(seen, resource, response);
    else this.#list(seen, resource, response);
  }

  /** A consistent read, and a server that does not come to know what is to be read. */
  #waitInVain(response: ServerResponse): void {
    setTimeout(() => {
      if (!response.destroyed) sendStatus(response, 504, "Timeout: Too large resource version");
    }, 3 * this.#options.second);
  }

  #refuse(seen: SeenRequest, resource: Stored, response: ServerResponse): void {
    const { pick, second } = this.#options;
    switch (pick(8)) {
      case 0:
        reset(response);
        return;
      case 1:
        return; // for ever
      case 2:
        response.writeHead(200).flushHeaders();
        setTimeout(() => reset(response), second);
        return;
      case 3:
        response.writeHead(200, { "Content-Type": "text/html" }).end("<html><body>Sign in</body></html>\n");
        return;
      case 4:
        response.writeHead(200).end();
        return;
      case 5:
        setTimeout(() => this.#serve(seen, resource, response), pick(10) * second);
        return;
      default: {
        const status = STATUSES[pick(STATUSES.length)] ?? 500;
        const headers: Record<string, string> = status === 429 ? { "Retry-After": String(1 + pick(4)) } : {};
        sendStatus(response, status, `the server has a bad day (${status})`, headers);
      }
    }
  }

  #shown(resource: Stored, version: number, mayLack: boolean): ApiObject[] {
    const { history, pick } = this.#options;
    const all = history.at(resource, version);
    if (!mayLack || pick(1000) >= this.temper.shorts) return all;
    return all.filter(() => pick(20) === 0);
  }

  #list(seen: SeenRequest, resource: Stored, response: ServerResponse): void {
    const { history, pick, second } = this.#options;
    const token = seen.query.get("continue");
    const [id = "", offset = "0"] = token?.split(".") ?? [];
    const begun = token === null ? undefined : this.#pages.get(id);
    if (token !== null && (begun === undefined || begun.version < history.oldest)) {
      sendStatus(response, 410, "The provided continue parameter is too old");
      return;
    }
    const page = begun ?? { version: history.version, items: this.#shown(resource, history.version, false) };
    const from = Number(offset);
    const limit = seen.query.has("limit") ? 40 + pick(60) : Number.POSITIVE_INFINITY;
    const next = from + limit < page.items.length ? `${this.#keep(id, page)}.${from + limit}` : "";
    const metadata = { resourceVersion: String(page.version), ...(next === "" ? {} : { continue: next }) };
    const shown = page.items.slice(from, from + limit);
    const only = seen.kind === "one" ? shown.filter((object) => object.metadata.name === "kubernetes") : shown;
    const items = seen.kind === "names" ? only.map(({ metadata: names }) => ({ metadata: names })) : only;
    const text = JSON.stringify({ kind: "List", apiVersion: "v1", metadata, items });
    response.writeHead(200, { "Content-Type": "application/json" });
    if (pick(1000) >= this.temper.breaks) response.end(text);
    else this.#breakList(response, text, pick(4) * second);
  }

  #breakList(response: ServerResponse, text: string, pauseMs: number): void {
    const { pick } = this.#options;
    const at = pick(text.length);
    response.write(text.slice(0, at));
    const how = pick(4);
    if (how === 3) return; // falls silent
    setTimeout(() => {
      if (how === 0) response.end(text.slice(at));
      else if (how === 1) response.end();
      else reset(response);
    }, pauseMs);
  }

  #keep(id: string, page: Page): string {
    const known = id || String(this.#pages.size + 1);
    this.#pages.set(known, page);
    return known;
  }

  #watch(seen: SeenRequest, resource: Stored, response: ServerResponse): void {
    const { history } = this.#options;
    const from = Number(seen.query.get("resourceVersion"));
    if (from < history.oldest) {
      if (this.#options.pick(2) === 0) sendStatus(response, 410, "too old resource version");
      else this.#open(seen, resource, response).error(410, "too old resource version");
      return;
    }
    const stream = this.#open(seen, resource, response);
    stream.cursor = from;
    this.#feed(stream);
  }

  #watchList(seen: SeenRequest, resource: Stored, response: ServerResponse): void {
    const { history, server } = this.#options;
    if (server.watchList === "refused") {
      sendStatus(response, 422, "sendInitialEvents is forbidden for watch");
      return;
    }
    const stream = this.#open(seen, resource, response);
    if (server.watchList === "unable") {
      stream.error(500, "the required storage feature RequestWatchProgress is disabled");
      return;
    }
    stream.cursor = history.version;
    for (const object of this.#shown(resource, stream.cursor, true)) stream.event("ADDED", object, 0);
    if (server.watchList === "works") stream.bookmark(stream.cursor, { "k8s.io/initial-events-end": "true" });
  }

  #open(seen: SeenRequest, resource: Stored, response: ServerResponse): WatchStream {
    const { pick, second } = this.#options;
    response.writeHead(200, { "Content-Type": "application/json" }).flushHeaders();
    const isDoomed = pick(1000) < this.temper.breaks;
    const fault = isDoomed ? (STREAM_FAULTS[pick(STREAM_FAULTS.length)] ?? null) : null;
    const endSec = Number(seen.query.get("timeoutSeconds"));
    const stream = new WatchStream({ resource, response, fault, linesBefore: pick(isDoomed ? 60 : 1), second, endSec });
    this.#streams.add(stream);
    response.on("close", () => {
      stream.close();
      this.#streams.delete(stream);
    });
    return stream;
  }
}

export function reset(response: ServerResponse): void {
  // Node cannot reset a TLS connection; closed without a word it is cut off as well.
  if (response.socket instanceof TLSSocket) response.socket.destroy();
  else response.socket?.resetAndDestroy();
}
