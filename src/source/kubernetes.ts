// SPDX-License-Identifier: Apache-2.0
// The API server as a source: a reflector each for Services and EndpointSlices, and for the node's own facts if the sink
// wants them; and the memory of where API servers are for the next cold start, when the `kubernetes` Service does not
// work yet because this agent has not programmed it.

import { ADDRESS_BYTES, formatAddress } from "../model/address.ts";
import { copyAddress } from "../model/address-list.ts";
import type { EndpointSlice, Service } from "../model/types.ts";
import { ApiClient } from "./api-client.ts";
import { type Clock, systemClock } from "./clock.ts";
import { API_SERVICE, ClusterIdentity } from "./cluster-identity.ts";
import { reasonOf } from "./config-error.ts";
import { Credentials } from "./credentials.ts";
import { decodeEndpointSlice, decodeService } from "./decode/decode.ts";
import { checkedServer } from "./kubeconfig.ts";
import type { Resource } from "./list-watch.ts";
import { nodeResource, serviceCidrResource } from "./node-watch.ts";
import { Reflector, type ReflectorWatcher } from "./reflector.ts";
import type { RequestReport } from "./request-report.ts";
import { type KnownServers, recallServers, rememberServers, ServerPool } from "./servers.ts";
import type { Kind, Source, SourceSink, SourceStatus } from "./source.ts";

export interface KubernetesSourceOptions {
  /** A kubeconfig file; null: see Credentials.load. */
  readonly kubeconfig: string | null;
  /** https://ADDRESS:PORT of API servers, asked before the kubeconfig's; may be empty. */
  readonly servers: readonly string[];
  /** Where the addresses of the API servers are remembered; null: nowhere. */
  readonly stateDir: string | null;
  readonly clock?: Clock;
  /** The Node that is watched; left out: none is. */
  readonly nodeName?: string;
  /** Services of exactly this service-proxy-name are ours; null or left out: those without any. */
  readonly serviceProxyName?: string | null;
  /** See ReflectorOptions. */
  readonly confirmMassDeletion?: boolean;
  readonly compareMs?: number;
  readonly watcher?: ReflectorWatcher;
  /** Told of every request. */
  readonly onRequest?: (report: RequestReport) => void;
}

const CHANGE_TYPES = { POST: "application/json", PATCH: "application/strategic-merge-patch+json" } as const;
/** Nobody waits for what the agent tells the API server. */
const CHANGE_MS = 30_000;

/** The selectors that kube-proxy watches with; the slices of other proxies' Services come too, and find no Service. */
const SERVICES = { path: "/api/v1/services", fieldSelector: "spec.clusterIP!=None" };
const PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name";
const SLICES = {
  path: "/apis/discovery.k8s.io/v1/endpointslices",
  labelSelector: "!service.kubernetes.io/headless",
  fieldSelector: null,
};

export class KubernetesSource implements Source {
  readonly #client: ApiClient;
  readonly #pool: ServerPool;
  readonly #clock: Clock;
  readonly #learns: boolean;
  readonly #stateDir: string | null;
  readonly #options: KubernetesSourceOptions;
  readonly #identity: ClusterIdentity;
  #sink: SourceSink | null = null;
  #reflectors: readonly Pick<Reflector<unknown>, "status" | "stop" | "reread">[] = [];
  /** Reflectors that nobody waits for, and that say nothing of the source's state. */
  readonly #beside: Pick<Reflector<unknown>, "status" | "stop">[] = [];
  readonly #nodeName: string | null;
  readonly #proxyName: string | null;
  readonly #synced = new Set<Kind>();
  #serviceAddresses: readonly string[] = [];
  /** URLs by slice of default/kubernetes. */
  readonly #endpoints = new Map<string, readonly string[]>();
  #learned = "";
  #stateError: string | null = null;

  private constructor(credentials: Credentials, options: KubernetesSourceOptions) {
    this.#clock = options.clock ?? systemClock;
    const { onRequest } = options;
    this.#client = new ApiClient({
      credentials,
      clock: this.#clock,
      ...(onRequest === undefined ? {} : { onRequest }),
    });
    this.#options = options;
    this.#identity = new ClusterIdentity(this.#client, this.#clock);
    this.#nodeName = options.nodeName ?? null;
    this.#proxyName = options.serviceProxyName ?? null;
    this.#learns = credentials.verified;
    this.#stateDir = options.stateDir;
    const remembers = this.#learns && options.stateDir !== null;
    this.#pool = new ServerPool({
      explicit: options.servers.map(checkedServer),
      configured: credentials.server,
      configuredIsService: credentials.inCluster,
      known:
        remembers && options.stateDir !== null
          ? recallServers(options.stateDir)
          : { endpoints: [], serviceAddresses: [] },
    });
  }

  /** Throws SourceConfigError if the kubeconfig or a server's address cannot be used. Sends nothing yet. */
  static async load(options: KubernetesSourceOptions): Promise<KubernetesSource> {
    return new KubernetesSource(await Credentials.load(options.kubeconfig, { servers: options.servers }), options);
  }

  start(sink: SourceSink): void {
    this.#sink = sink;
    const proxyName = this.#proxyName;
    const services = this.#reflect<Service>({
      ...SERVICES,
      labelSelector: proxyName === null ? `!${PROXY_NAME_LABEL}` : `${PROXY_NAME_LABEL}=${proxyName}`,
      kind: "Service",
      decode: (object) => decodeService(object, proxyName),
      deliver: (key, service, receivedNs) => {
        sink.service(key, service, receivedNs);
        if (key === API_SERVICE.key) this.#learnService(service, services.relisting);
      },
      relisted: () => this.#identity.believed(),
      problems: (key, problems) => sink.problems("Service", key, problems),
      synced: () => this.#kindSynced("services"),
    });
    const slices = this.#reflect<EndpointSlice>({
      ...SLICES,
      kind: "EndpointSlice",
      decode: decodeEndpointSlice,
      deliver: (key, slice, receivedNs) => {
        sink.endpointSlice(key, slice, receivedNs);
        if (key.startsWith(`${API_SERVICE.namespace}/`)) this.#learnSlice(key, slice);
      },
      problems: (key, problems) => sink.problems("EndpointSlice", key, problems),
      synced: () => this.#kindSynced("endpointslices"),
    });
    this.#reflectors = [services, slices];
    this.#watchNode(sink);
  }

  #watchNode(sink: SourceSink): void {
    const problems: SourceSink["problems"] = (...args) => sink.problems(...args);
    const { node, serviceCidrs } = sink;
    if (this.#nodeName !== null && node !== undefined) {
      const resource = nodeResource(this.#nodeName, node.bind(sink), problems);
      this.#beside.push(this.#reflect(resource));
    }
    if (serviceCidrs !== undefined)
      this.#beside.push(this.#reflect(serviceCidrResource(serviceCidrs.bind(sink), problems)));
  }

  /** Writes to the API server in use; resolves to the answer's status. Rejects if there is no answer. */
  readonly change = (method: "POST" | "PATCH", path: string, object: object): Promise<number> => {
    const change = { method, contentType: CHANGE_TYPES[method], body: JSON.stringify(object) };
    return this.#client.change(this.#pool.current, path, change, AbortSignal.timeout(CHANGE_MS));
  };

  async reread(): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.reread()));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#reflectors, ...this.#beside].map((reflector) => reflector.stop()));
    this.#sink = null;
    this.#client.close();
  }

  status(): SourceStatus {
    const parts = this.#reflectors.map((reflector) => reflector.status());
    const counters: Record<string, number> = {};
    for (const part of parts)
      for (const [name, value] of Object.entries(part.counters)) counters[name] = (counters[name] ?? 0) + value;
    const synced = parts.length > 0 && parts.every((part) => part.synced);
    const trouble = parts.find((part) => !part.connected);
    const held = parts.find((part) => part.held !== null)?.held ?? null;
    return {
      source: "kubernetes",
      state: !synced ? "starting" : trouble === undefined ? "synced" : "disconnected",
      peer: parts.find((part) => part.server !== null)?.server ?? null,
      reason: trouble?.reason ?? held ?? this.#stateError,
      denied: parts.find((part) => part.denied !== null)?.denied ?? null,
      refused: this.#beside.map((reflector) => reflector.status().refusal).filter((refusal) => refusal !== null),
      lastHeardNs: latest(parts.map((part) => part.lastHeardNs)),
      counters,
    };
  }

  #reflect<T>(resource: Resource<T>): Reflector<T> {
    const { confirmMassDeletion = true, compareMs, watcher } = this.#options;
    const reflector = new Reflector({
      resource,
      client: this.#client,
      pool: this.#pool,
      clock: this.#clock,
      confirmMassDeletion,
      checkCluster: (server, signal) => this.#identity.check(server, signal),
      ...(compareMs === undefined ? {} : { compareMs }),
      ...(watcher === undefined ? {} : { watcher }),
    });
    reflector.start();
    return reflector;
  }

  #kindSynced(kind: Kind): void {
    this.#synced.add(kind);
    this.#sink?.synced(kind);
    if (this.#synced.size < 2) return;
    this.#sink?.complete?.();
    this.#learn();
  }

  #learnService(service: Service | null, byList: boolean): void {
    if (service !== null) this.#identity.saw(service.uid, byList);
    this.#serviceAddresses = service?.clusterIps ?? [];
    this.#learn();
  }

  #learnSlice(key: string, slice: EndpointSlice | null): void {
    const ours = slice?.serviceName === API_SERVICE.name;
    if (!ours && !this.#endpoints.has(key)) return;
    if (slice === null || !ours) this.#endpoints.delete(key);
    else this.#endpoints.set(key, urlsOf(slice));
    this.#learn();
  }

  /** Only what a verified server said, only when it has said all, and never that there is no server at all. */
  #learn(): void {
    const known: KnownServers = {
      endpoints: [...new Set([...this.#endpoints.values()].flat())].sort(),
      serviceAddresses: this.#serviceAddresses,
    };
    const text = JSON.stringify(known);
    if (!this.#learns || this.#synced.size < 2 || known.endpoints.length === 0 || text === this.#learned) return;
    this.#learned = text;
    this.#pool.learn(known);
    if (this.#stateDir === null) return;
    try {
      rememberServers(this.#stateDir, known);
      this.#stateError = null;
    } catch (error) {
      this.#stateError = `API servers are not remembered: ${this.#stateDir} ${reasonOf(error)}`;
    }
  }
}

function latest(times: readonly bigint[]): bigint {
  let last = 0n;
  for (const time of times) if (time > last) last = time;
  return last;
}

function urlsOf(slice: EndpointSlice): readonly string[] {
  const port = slice.ports.find(({ name }) => name === "https") ?? slice.ports[0];
  if (port === undefined) return [];
  const bytes = new Uint8Array(ADDRESS_BYTES);
  return Array.from({ length: slice.count }, (_, i) => {
    copyAddress(slice, i, bytes);
    const address = formatAddress(bytes, 0, slice.family);
    return `https://${slice.family === 6 ? `[${address}]` : address}:${port.port}`;
  });
}
