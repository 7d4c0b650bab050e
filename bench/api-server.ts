// SPDX-License-Identifier: Apache-2.0
// An API server that costs next to nothing, so that what is measured is the agent: lists, paged lists and watches (with
// initial events) of Services and EndpointSlices that look like a controller's, and changes to single slices on demand.

import { once as event } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type BenchService, NAMESPACE, serviceObject, sliceObject } from "./services.ts";

const CREATED = "2026-01-01T00:00:00Z";
/** Lines written at once before waiting for the reader. */
const BATCH = 200;
/** The one Node there is. */
export const NODE = "bench-node";

interface Item {
  readonly version: number;
  readonly json: string;
}

interface Collection {
  readonly apiVersion: string;
  readonly kind: string;
  readonly listKind: string;
  /** By Service name. */
  readonly items: Map<string, Item>;
  readonly watchers: Set<ServerResponse>;
}

const uid = (kind: string, name: string): string => {
  const digits = Buffer.from(`${kind}${name}`).toString("hex").padEnd(32, "0").slice(-32);
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
};

/** What an API server adds to what a client wrote. */
function stored(object: object, version: number, manager: string): object {
  const { metadata, ...rest } = object as { kind: string; metadata: { name: string } };
  const fields = {
    "f:metadata": { "f:labels": { ".": {} } },
    "f:spec": { "f:ports": {}, "f:selector": {}, "f:type": {} },
  };
  return {
    ...rest,
    metadata: {
      ...metadata,
      uid: uid(rest.kind, metadata.name),
      resourceVersion: String(version),
      generation: 1,
      creationTimestamp: CREATED,
      managedFields: [
        { manager, operation: "Update", apiVersion: "v1", time: CREATED, fieldsType: "FieldsV1", fieldsV1: fields },
      ],
    },
  };
}

/** The slice with what the controller writes besides addresses: Pods, zones, hints, owner. */
function controllerSlice(service: BenchService): object {
  const slice = sliceObject(service) as { metadata: object; endpoints: object[] };
  const owner = { apiVersion: "v1", kind: "Service", name: service.name, uid: uid("Service", service.name) };
  return {
    ...slice,
    metadata: { ...slice.metadata, ownerReferences: [{ ...owner, controller: true, blockOwnerDeletion: true }] },
    endpoints: slice.endpoints.map((endpoint, n) => ({
      ...endpoint,
      targetRef: {
        kind: "Pod",
        namespace: NAMESPACE,
        name: `${service.name}-${n}`,
        uid: uid("Pod", `${service.name}${n}`),
      },
      zone: `zone-${n % 3}`,
      hints: { forZones: [{ name: `zone-${n % 3}` }] },
    })),
  };
}

function nodeObject(): object {
  const addresses = [{ type: "InternalIP", address: "192.0.2.1" }];
  return { apiVersion: "v1", kind: "Node", metadata: { name: NODE }, spec: {}, status: { addresses } };
}

export class ApiServer {
  /** Base URL. */
  readonly url: string;
  readonly #server: Server;
  readonly #collections: ReadonlyMap<string, Collection>;
  readonly #services: Collection;
  readonly #slices: Collection;
  /** Of everything that is gone, when it went. */
  readonly #removed: { readonly collection: Collection; readonly version: number }[] = [];
  #version = 1_000;

  private constructor(server: Server, services: readonly BenchService[]) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const collection = (apiVersion: string, kind: string): Collection => ({
      apiVersion,
      kind,
      listKind: `${kind}List`,
      items: new Map(),
      watchers: new Set(),
    });
    this.#services = collection("v1", "Service");
    this.#slices = collection("discovery.k8s.io/v1", "EndpointSlice");
    const nodes = collection("v1", "Node");
    nodes.items.set(NODE, this.#item(nodeObject(), "kubelet"));
    this.#collections = new Map([
      ["/api/v1/services", this.#services],
      ["/apis/discovery.k8s.io/v1/endpointslices", this.#slices],
      ["/api/v1/nodes", nodes],
      ["/apis/networking.k8s.io/v1/servicecidrs", collection("networking.k8s.io/v1", "ServiceCIDR")],
    ]);
    for (const service of services) {
      this.#services.items.set(service.name, this.#item(serviceObject(service), "kubectl"));
      this.#slices.items.set(service.name, this.#slice(service));
    }
  }

  static async start(services: readonly BenchService[]): Promise<ApiServer> {
    const server = createServer({ keepAliveTimeout: 60_000 });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const api = new ApiServer(server, services);
    server.on("request", (request, response) => void api.#answer(request, response));
    return api;
  }

  /**
   * Makes MODIFIED with the Service's slice as it is now; the answer sends it, and the bytes are in the socket when that
   * resolves. What was made first must be sent first.
   */
  changeSlice(service: BenchService): () => Promise<void> {
    const item = this.#slice(service);
    const line = Buffer.from(`{"type":"MODIFIED","object":${item.json}}\n`);
    return async () => {
      this.#slices.items.set(service.name, item);
      for (const watcher of this.#slices.watchers) {
        await new Promise<void>((resolve) => watcher.write(line, () => resolve()));
      }
    };
  }

  /** Puts a Service and its slice, and tells the watchers. */
  put(service: BenchService): void {
    this.#set(this.#services, service.name, this.#item(serviceObject(service), "kubectl"));
    this.#set(this.#slices, service.name, this.#slice(service));
  }

  /** Removes both, the slice first, and tells the watchers. */
  remove(service: BenchService): void {
    for (const collection of [this.#slices, this.#services]) {
      const item = collection.items.get(service.name);
      if (item === undefined) continue;
      collection.items.delete(service.name);
      this.#version++;
      this.#removed.push({ collection, version: this.#version });
      const line = `{"type":"DELETED","object":${item.json.replace(/"resourceVersion":"\d+"/, `"resourceVersion":"${this.#version}"`)}}\n`;
      for (const watcher of collection.watchers) watcher.write(line);
    }
  }

  /** Cuts every connection; the reader comes back and asks for what it has missed. */
  disconnect(): void {
    this.#server.closeAllConnections();
  }

  /** How many watches of EndpointSlices are open. */
  get watchers(): number {
    return this.#slices.watchers.size;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #set(collection: Collection, name: string, item: Item): void {
    const type = collection.items.has(name) ? "MODIFIED" : "ADDED";
    collection.items.set(name, item);
    for (const watcher of collection.watchers) watcher.write(`{"type":"${type}","object":${item.json}}\n`);
  }

  #slice(service: BenchService): Item {
    return this.#item(controllerSlice(service), "kube-controller-manager");
  }

  #item(object: object, manager: string): Item {
    const version = ++this.#version;
    return { version, json: JSON.stringify(stored(object, version, manager)) };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const collection = this.#collections.get(url.pathname);
    response.setHeader("Content-Type", "application/json");
    if (!collection) {
      response.statusCode = 404;
      response.end(
        JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason: "NotFound", code: 404 }),
      );
      return;
    }
    const watch = ["1", "true"].includes(url.searchParams.get("watch") ?? "");
    await (watch ? this.#watch(collection, url, response) : this.#list(collection, url, response));
  }

  async #list(collection: Collection, url: URL, response: ServerResponse): Promise<void> {
    const limit = Number(url.searchParams.get("limit") ?? 0) || collection.items.size;
    const from = Number(url.searchParams.get("continue") ?? 0);
    const next = from + limit < collection.items.size ? String(from + limit) : "";
    const metadata = { resourceVersion: String(this.#version), ...(next ? { continue: next } : {}) };
    const head = { kind: collection.listKind, apiVersion: collection.apiVersion, metadata };
    const items = [...collection.items.values()].slice(from, from + limit);
    response.write(`${JSON.stringify(head).slice(0, -1)},"items":[`);
    for (let i = 0; i < items.length; i += BATCH) {
      await written(
        response,
        (i > 0 ? "," : "") +
          items
            .slice(i, i + BATCH)
            .map(({ json }) => json)
            .join(","),
      );
    }
    response.end("]}");
  }

  async #watch(collection: Collection, url: URL, response: ServerResponse): Promise<void> {
    const initial = url.searchParams.get("sendInitialEvents") === "true";
    const since = initial ? 0 : Number(url.searchParams.get("resourceVersion") ?? 0);
    // What was deleted is not kept: who may have missed it has to list again.
    if (!initial && this.#removed.some((gone) => gone.collection === collection && gone.version > since)) {
      response.statusCode = 410;
      response.end(
        JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason: "Expired", code: 410 }),
      );
      return;
    }
    response.on("close", () => collection.watchers.delete(response));
    response.flushHeaders();
    const items = [...collection.items.values()].filter(({ version }) => version > since);
    items.sort((a, b) => a.version - b.version);
    const type = initial ? "ADDED" : "MODIFIED";
    for (let i = 0; i < items.length; i += BATCH) {
      const lines = items.slice(i, i + BATCH).map(({ json }) => `{"type":"${type}","object":${json}}\n`);
      await written(response, lines.join(""));
    }
    if (initial) response.write(this.#initialEventsEnd(collection));
    collection.watchers.add(response);
  }

  #initialEventsEnd({ kind, apiVersion }: Collection): string {
    const annotations = { "k8s.io/initial-events-end": "true" };
    const object = { kind, apiVersion, metadata: { resourceVersion: String(this.#version), annotations } };
    return `${JSON.stringify({ type: "BOOKMARK", object })}\n`;
  }
}

/** The event, or nothing once it is no longer waited for. */
const once = (emitter: ServerResponse, name: string, until: AbortController): Promise<unknown> =>
  event(emitter, name, { signal: until.signal }).catch(() => undefined);

/** Writes and waits until the reader has made room, or has gone. */
async function written(response: ServerResponse, text: string): Promise<void> {
  if (response.write(text) || response.destroyed) return;
  const done = new AbortController();
  await Promise.race([once(response, "drain", done), once(response, "close", done)]);
  done.abort();
}
