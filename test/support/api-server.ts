// SPDX-License-Identifier: Apache-2.0
// An API server made to misbehave: lists, pages, watches and watch-lists of the kinds the agent reads, from memory, with
// every fault a test wants in between. It complements the real kube-apiserver, which never does any of this on demand.

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { ServerTls } from "./certificates.ts";

export type ApiObject = {
  metadata: { name: string; namespace?: string; resourceVersion?: string } & Record<string, unknown>;
} & Record<string, unknown>;

const RESOURCES = ["services", "endpointslices", "nodes", "servicecidrs"] as const;
export type Resource = (typeof RESOURCES)[number];

/** One request as it came in. */
export interface SeenRequest {
  readonly resource: Resource;
  /** "names": a list of metadata alone. "one": the list of default/kubernetes. */
  readonly kind: "list" | "names" | "one" | "watch" | "watch-list";
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  /** By the server's clock. */
  readonly atMs: number;
}

/** A POST or a PATCH. */
export interface SeenChange {
  readonly method: string;
  readonly path: string;
  readonly object: { readonly [field: string]: unknown };
}

/** Handles the request itself and answers true, or leaves it to the server. */
export type Intercept = (request: SeenRequest, response: ServerResponse) => boolean;

interface OpenWatch {
  readonly resource: Resource;
  readonly response: ServerResponse;
  readonly bookmarks: boolean;
  /** It hears of what comes after this. */
  readonly from: number;
}

interface LoggedEvent {
  readonly version: number;
  readonly line: string;
}

const PATHS: Readonly<Record<string, Resource>> = {
  "/api/v1/services": "services",
  "/apis/discovery.k8s.io/v1/endpointslices": "endpointslices",
  "/api/v1/nodes": "nodes",
  "/apis/networking.k8s.io/v1/servicecidrs": "servicecidrs",
};
const ONE = "/api/v1/namespaces/default/services";

const byResource = <T>(make: () => T) =>
  Object.fromEntries(RESOURCES.map((resource) => [resource, make()])) as Record<Resource, T>;

export class FaultApiServer {
  readonly requests: SeenRequest[] = [];
  /** What was written, whatever it was answered. */
  readonly changes: SeenChange[] = [];
  /** What a change is answered; null: nothing at all. */
  changeStatus: number | null = 201;
  intercept: Intercept | null = null;
  /** No watch hears of what changes while this is set. */
  silent = false;
  /** Leaves objects out of every list and of initial events. */
  hides: ((object: ApiObject) => boolean) | null = null;
  /** "refused": 422; "unable": an ERROR event as with etcd 3.4; "ignored": initial events, but no bookmark at their end. */
  watchList: "works" | "refused" | "unable" | "ignored" = "works";
  /** A server before 1.31: "field label not supported". */
  fieldSelectors = true;
  /** Page tokens given out from now on are expired when they come back. */
  expireTokens = false;
  pageSize = 0;
  /** Every answer begins so much later. */
  delayMs = 0;
  /** What tells when a request came. */
  clock: { now(): number } = performance;
  /** Connections are reset as they come. */
  refusing = false;
  /** The only token that is let in; null: any. */
  token: string | null = null;
  connections = 0;
  /** Connections reset by `refusing`. */
  refused = 0;
  /** Stays the same after stop. */
  port = 0;
  readonly #server: http.Server | https.Server;
  readonly #objects = byResource(() => new Map<string, ApiObject>());
  readonly #history = byResource<LoggedEvent[]>(() => []);
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<OpenWatch>();
  #version = 100;
  #oldest = 0;

  private constructor(tls: ServerTls | null) {
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      if (this.delayMs === 0) this.#handle(request, response);
      else setTimeout(() => this.#handle(request, response), this.delayMs);
    };
    this.#server = tls === null ? http.createServer(handle) : https.createServer(tls, handle);
    this.#server.on(tls === null ? "connection" : "secureConnection", () => this.connections++);
    this.#server.on("connection", (socket: Socket) => {
      if (this.refusing) {
        this.refused++;
        socket.resetAndDestroy();
        return;
      }
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** `version`: what a server that comes back goes on from. */
  static async start(
    options: { port?: number; version?: number; tls?: ServerTls | null } = {},
  ): Promise<FaultApiServer> {
    const server = new FaultApiServer(options.tls ?? null);
    server.#version = options.version ?? server.#version;
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(options.port ?? 0, "127.0.0.1", resolve);
    });
    server.port = (server.#server.address() as AddressInfo).port;
    return server;
  }

  get url(): string {
    return `${this.#server instanceof https.Server ? "https" : "http"}://127.0.0.1:${this.port}`;
  }

  /** Of the last change. */
  get version(): number {
    return this.#version;
  }

  /** New connections are shown this certificate. */
  present(tls: ServerTls): void {
    (this.#server as https.Server).setSecureContext(tls);
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  watched(resource: Resource): boolean {
    return this.#open(resource).length > 0;
  }

  /** Resets every connection. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Requests of one kind so far. */
  count(kind: SeenRequest["kind"], resource?: Resource): number {
    return this.requests.filter((seen) => seen.kind === kind && (resource === undefined || seen.resource === resource))
      .length;
  }

  put(resource: Resource, object: ApiObject): void {
    const key = keyOf(object);
    const type = this.#objects[resource].has(key) ? "MODIFIED" : "ADDED";
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.#objects[resource].set(key, stored);
    this.#log(resource, type, stored);
  }

  remove(resource: Resource, key: string): void {
    const object = this.#objects[resource].get(key);
    if (object === undefined) return;
    this.#objects[resource].delete(key);
    this.#log(resource, "DELETED", {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
    });
  }

  /** Changes objects without any watch hearing of it, and forgets the history: only a relist finds out. */
  compact(change: () => void = () => {}): void {
    const open = [...this.#watches];
    this.#watches.clear();
    change();
    for (const watch of open) this.#watches.add(watch);
    this.#oldest = ++this.#version;
    for (const resource of RESOURCES) this.#history[resource].length = 0;
  }

  /** Other kinds of objects change. */
  jump(by: number): void {
    this.#version += by;
  }

  bookmark(resource: Resource): void {
    for (const watch of this.#open(resource)) if (watch.bookmarks) this.#tell(watch, bookmarkLine(++this.#version));
  }

  /** Writes these bytes into every open watch of the resource. */
  write(resource: Resource, bytes: string | Buffer): void {
    for (const watch of this.#open(resource)) watch.response.write(bytes);
  }

  /** Ends the open watches as a server does at their timeout. */
  endWatches(resource?: Resource): void {
    for (const watch of this.#open(resource)) watch.response.end();
  }

  /** Resets the connections of the open watches. */
  resetWatches(resource?: Resource): void {
    for (const { response } of this.#open(resource)) {
      // Node cannot reset a TLS connection; closed without a word it is cut off as well.
      if (response.socket instanceof TLSSocket) response.socket.destroy();
      else response.socket?.resetAndDestroy();
    }
  }

  #open(resource?: Resource): OpenWatch[] {
    return [...this.#watches].filter((watch) => resource === undefined || watch.resource === resource);
  }

  #log(resource: Resource, type: string, object: ApiObject): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    if (this.silent) return;
    this.#history[resource].push({ version: this.#version, line });
    for (const watch of this.#open(resource)) this.#tell(watch, line);
  }

  /** The last change, to whoever does not claim to know of it. */
  #tell({ response, from }: OpenWatch, line: string): void {
    if (this.#version > from) response.write(line);
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (request.method !== "GET") {
      void this.#change(request, url.pathname, response);
      return;
    }
    const resource = url.pathname === ONE ? "services" : PATHS[url.pathname];
    if (resource === undefined) {
      sendStatus(response, 404, "not found");
      return;
    }
    const query = url.searchParams;
    const seen: SeenRequest = {
      resource,
      kind: url.pathname === ONE ? "one" : kindOf(query, request.headers.accept ?? ""),
      query,
      authorization: request.headers.authorization,
      atMs: this.clock.now(),
    };
    this.requests.push(seen);
    if (this.intercept?.(seen, response)) return;
    if (this.token !== null && seen.authorization !== `Bearer ${this.token}`) {
      sendStatus(response, 401, "Unauthorized");
      return;
    }
    if (query.has("fieldSelector") && !this.fieldSelectors && seen.kind !== "one")
      sendStatus(response, 400, "field label not supported: spec.clusterIP");
    else if (seen.kind === "watch" || seen.kind === "watch-list") this.#watch(seen, response);
    else this.#list(seen, response);
  }

  /** A change that is cut off, as by a server that goes, was none. */
  async #change(request: IncomingMessage, path: string, response: ServerResponse): Promise<void> {
    let body = "";
    try {
      for await (const chunk of request) body += String(chunk);
    } catch {
      return;
    }
    this.changes.push({ method: request.method ?? "", path, object: JSON.parse(body) as SeenChange["object"] });
    if (this.changeStatus !== null) sendStatus(response, this.changeStatus, "as it was told");
  }

  /** What a list shows. */
  #shown({ resource, kind }: SeenRequest): ApiObject[] {
    const all = [...this.#objects[resource].values()].filter((object) => !this.hides?.(object));
    if (kind === "one") return all.filter((object) => keyOf(object) === "default/kubernetes");
    return kind === "names" ? all.map(({ metadata }) => ({ metadata })) : all;
  }

  #list(seen: SeenRequest, response: ServerResponse): void {
    const { query } = seen;
    const token = query.get("continue");
    if (token !== null && this.expireTokens) {
      sendStatus(response, 410, "The provided continue parameter is too old");
      return;
    }
    const from = Number(token ?? 0);
    const limit = query.has("limit") ? this.pageSize || Number(query.get("limit")) : Number.POSITIVE_INFINITY;
    const all = this.#shown(seen);
    const items = all.slice(from, from + limit);
    const more = from + items.length < all.length ? { continue: String(from + items.length) } : {};
    response.setHeader("Content-Type", "application/json");
    response.end(
      JSON.stringify({
        kind: "List",
        apiVersion: "v1",
        metadata: { resourceVersion: String(this.#version), ...more },
        items,
      }),
    );
  }

  #watch(seen: SeenRequest, response: ServerResponse): void {
    const { resource, query, kind } = seen;
    if (kind === "watch-list" && this.watchList === "refused") {
      sendStatus(
        response,
        422,
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
      );
      return;
    }
    const from = Number(query.get("resourceVersion") ?? 0);
    if (kind === "watch" && from < this.#oldest) {
      sendStatus(response, 410, "too old resource version");
      return;
    }
    response.writeHead(200, { "Content-Type": "application/json" });
    response.flushHeaders();
    if (kind === "watch-list" && this.watchList === "unable") {
      response.end(errorLine(500, "the required storage feature RequestWatchProgress is disabled"));
      return;
    }
    if (kind === "watch-list") this.#initialEvents(seen, response);
    else for (const event of this.#history[resource]) if (event.version > from) response.write(event.line);
    const watch = { resource, response, bookmarks: query.get("allowWatchBookmarks") === "true", from };
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
  }

  #initialEvents(seen: SeenRequest, response: ServerResponse): void {
    for (const object of this.#shown(seen)) response.write(`${JSON.stringify({ type: "ADDED", object })}\n`);
    if (this.watchList === "works")
      response.write(bookmarkLine(this.#version, { "k8s.io/initial-events-end": "true" }));
  }
}

function kindOf(query: URLSearchParams, accept: string): SeenRequest["kind"] {
  if (query.get("watch") === "true") return query.get("sendInitialEvents") === "true" ? "watch-list" : "watch";
  return accept.includes("as=PartialObjectMetadataList") ? "names" : "list";
}

export function errorLine(code: number, message: string): string {
  return `${JSON.stringify({ type: "ERROR", object: statusObject(code, message) })}\n`;
}

export function sendStatus(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(code, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(statusObject(code, message)));
}

function statusObject(code: number, message: string): object {
  return { kind: "Status", apiVersion: "v1", status: "Failure", message, code };
}

function bookmarkLine(version: number, annotations: Record<string, string> = {}): string {
  return `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(version), annotations } } })}\n`;
}

function keyOf(object: ApiObject): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
}
