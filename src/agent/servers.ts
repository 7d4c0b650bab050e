// SPDX-License-Identifier: Apache-2.0
// What the agent shows to the outside, wired: health and metrics servers, the health checks of Services, and Events.

import { hostname } from "node:os";
import type { Logger } from "pino";
import { countLocalReady } from "../compile/local-endpoints.ts";
import { configzText } from "../config/kube-proxy/text.ts";
import type { Config } from "../config/schema.ts";
import { ClientMetrics } from "../health/client-metrics.ts";
import { healthRoute } from "../health/health-server.ts";
import { KubeProxyMetrics, type NoLocalEndpoints } from "../health/kube-proxy-metrics.ts";
import { placeOf, StandingServer } from "../health/listening.ts";
import { metricsRoute } from "../health/metrics-server.ts";
import { type AgentFigures, registerPortolanMetrics } from "../health/portolan-metrics.ts";
import { registerProcessMetrics } from "../health/process-metrics.ts";
import { Registry } from "../health/prometheus.ts";
import { ProxyHealth } from "../health/proxy-health.ts";
import { type ServiceCheck, ServiceHealth } from "../health/service-health.ts";
import { type Cidr, cidrContains, familyOf, familyOfText, formatAddress } from "../model/address.ts";
import type { StoreView } from "../model/store.ts";
import type { Family, Node, ServiceKey } from "../model/types.ts";
import { NodeError } from "../node/node-error.ts";
import { EventRecorder, type Write } from "../observe/event-recorder.ts";
import { type EventSink, type EventText, type Regarding, silent } from "../observe/events.ts";
import { setVerbosity } from "./notices/log.ts";
import { servedFamilies } from "./own-node/families.ts";
import { SyncWatch } from "./sync-watch.ts";

export interface ServersOptions {
  readonly config: Config;
  readonly version: string;
  /** Our Node's name. */
  readonly node: string;
  readonly startedMs: number;
  /** The flags of the command line, for /flagz. */
  readonly flags: Readonly<Record<string, string>>;
  readonly log: Logger;
  /** Those that this node serves; left out: those of its kernel. */
  readonly families?: readonly Family[];
}

/** What the pipeline lends to the metrics. */
export type PipelineFigures = Omit<AgentFigures, "version" | "events" | "lastEventSec"> & {
  readonly noLocalEndpoints: () => ReadonlyMap<Family, NoLocalEndpoints> | null;
};

/** Where the servers listen; null: nowhere (yet). */
export interface ServerAddresses {
  readonly health: string | null;
  readonly metrics: string | null;
  /** Services with a health check of their own. */
  readonly serviceChecks: number;
}

export class Servers implements EventSink {
  readonly client: ClientMetrics;
  readonly watch: SyncWatch;
  readonly metrics: KubeProxyMetrics;
  readonly #options: ServersOptions;
  readonly families: readonly Family[];
  readonly #registry = new Registry();
  readonly #health: ProxyHealth;
  readonly #checks: ServiceHealth;
  readonly #standing: { readonly health: StandingServer | null; readonly metrics: StandingServer };
  #figures: PipelineFigures | null = null;
  #beforeScrape: () => void = () => undefined;
  #events: EventRecorder | null = null;
  #checkAddresses: ReadonlyMap<Family, readonly string[]> = new Map();

  constructor(options: ServersOptions) {
    const { config, startedMs } = options;
    this.#options = options;
    const { families = servedFamilies() } = options;
    this.families = families;
    const nodeEligible = config.source !== "kubernetes";
    this.#health = new ProxyHealth({ families, syncPeriodSec: config.syncPeriodSec, nodeEligible });
    const registry = this.#registry;
    const noLocalEndpoints = () => this.#figures?.noLocalEndpoints() ?? null;
    this.metrics = new KubeProxyMetrics({ registry, noLocalEndpoints });
    this.client = new ClientMetrics(registry);
    registerProcessMetrics(registry);
    this.watch = new SyncWatch({ families, health: this.#health, metrics: this.metrics, startedMs });
    this.#checks = new ServiceHealth({
      healthy: () => this.#health.healthy,
      addresses: (family) => this.#checkAddresses.get(family) ?? null,
      onFailure: (check, error) => this.#checkFailed(check, error),
    });
    this.#standing = { health: this.#healthServer(), metrics: this.#metricsServer() };
  }

  /** Events go where `write` leads; without it nobody hears of them. */
  useWriter(write: Write | undefined): void {
    if (write !== undefined && this.#options.config.events)
      this.#events = new EventRecorder({ write, host: hostname() });
  }

  /** From now on a scrape sees the pipeline's figures. */
  useFigures(figures: PipelineFigures): void {
    this.#figures = figures;
    const events = () => this.#events?.counters ?? { sent: 0, refused: 0, dropped: 0 };
    const lastEventSec = () => this.watch.lastEventSec;
    this.#beforeScrape = registerPortolanMetrics(this.#registry, {
      ...figures,
      version: this.#options.version,
      events,
      lastEventSec,
    });
  }

  /**
   * Opens both servers, and says that the agent starts. A port that is taken is tried again, or, with
   * bindAddressHardFail, a reason to end: throws NodeError.
   */
  async open(): Promise<void> {
    const { config } = this.#options;
    this.watch.started();
    const failures = await Promise.all([this.#standing.health?.open() ?? null, this.#standing.metrics.open()]);
    const failure = failures.find((error) => error !== null);
    if (failure !== undefined && config.bindAddressHardFail) throw new NodeError(failure.message);
    this.event({ regarding: this.#node, type: "Normal", reason: "Starting", action: "StartKubeProxy" });
  }

  event(event: EventText): void {
    (this.#events ?? silent).event(event);
  }

  /** The Node object of this node; null: it is gone. */
  setNode(node: Node | null): void {
    this.#health.setNode(node);
  }

  /** The node's addresses, and the prefixes of those on which NodePorts answer ([] in a family: all of them). */
  setNodeAddresses(addresses: readonly Uint8Array[], answering: readonly Cidr[]): void {
    const found = new Map<Family, readonly string[]>();
    for (const family of [4, 6] as const) {
      const cidrs = answering.filter((cidr) => cidr.family === family);
      if (cidrs.length === 0 || cidrs.some(({ bits }) => bits === 0)) continue;
      const matching = addresses.filter((address) => {
        return familyOf(address) === family && cidrs.some((cidr) => cidrContains(cidr, address));
      });
      const texts = matching.map((address) => formatAddress(address)).filter((text) => !isLoopback(text));
      found.set(family, texts.sort());
    }
    this.#checkAddresses = found;
    this.#checks.sync();
  }

  /** All that was asked for is written: the health checks of these Services follow, and ports that could not be had. */
  synced(store: StoreView, services: Iterable<ServiceKey>): void {
    for (const key of services) this.#checks.set(key, this.#checkOf(store, key));
    this.#checks.sync();
  }

  get addresses(): ServerAddresses {
    const { health, metrics } = this.#standing;
    return { health: health?.address ?? null, metrics: metrics.address, serviceChecks: this.#checks.size };
  }

  async close(): Promise<void> {
    this.#events?.close();
    await Promise.all([this.#standing.health?.close(), this.#standing.metrics.close(), this.#checks.close()]);
  }

  get #node(): Regarding {
    return { kind: "Node", name: this.#options.node, namespace: "" };
  }

  #healthServer(): StandingServer | null {
    const { config, log } = this.#options;
    const address = config.healthzBindAddress;
    if (address === "none") return null;
    const route = healthRoute(this.#health, (path, code) => this.metrics.answered(path, code));
    const onFailure = ({ message }: Error): void => {
      const note = `healthz server failed: failed to start proxy healthz on ${address}: ${message}`;
      log.error({ reason: message }, "the health server has no port");
      const reason = "FailedToStartProxierHealthcheck";
      this.event({ regarding: this.#node, type: "Warning", reason, action: "StartKubeProxy", note });
    };
    return new StandingServer({ place: placeOf(address), route, onFailure });
  }

  #metricsServer(): StandingServer {
    const { config, version, flags, log } = this.#options;
    const route = metricsRoute({
      registry: this.#registry,
      beforeScrape: () => this.#beforeScrape(),
      version,
      configz: () => configzText(config),
      flags,
      profiling: config.enableProfiling,
      setVerbosity: (verbosity) => setVerbosity(log, verbosity),
    });
    const onFailure = ({ message }: Error): void => {
      log.error({ reason: message }, "the metrics server has no port");
      if (!config.bindAddressHardFail) return;
      const reason = "FailedToStartMetricServer";
      this.event({ regarding: this.#node, type: "Warning", reason, action: "StartKubeProxy", note: message });
    };
    return new StandingServer({ place: placeOf(config.metricsBindAddress), route, onFailure });
  }

  /** The health check a Service wants; null: none. */
  #checkOf(store: StoreView, key: ServiceKey): ServiceCheck | null {
    const service = store.getService(key);
    if (service === undefined || service.type !== "LoadBalancer" || !service.externalLocal) return null;
    const { namespace, name, healthCheckNodePort: port, clusterIps, ports } = service;
    if (port === 0 || ports.length === 0) return null;
    const slices = store.slicesOf(key);
    const has = new Set(clusterIps.map(familyOfText));
    const served = this.families.filter((family) => has.has(family));
    const count = (family: Family): number => countLocalReady(slices, family, this.#options.node);
    return { namespace, name, port, localEndpoints: new Map(served.map((family) => [family, count(family)])) };
  }

  #checkFailed({ namespace, name, port }: ServiceCheck, { message }: Error): void {
    const { node, log } = this.#options;
    const note = `node ${node} failed to start healthcheck "${namespace}/${name}" on port ${port}: ${message}`;
    log.error({ service: `${namespace}/${name}`, port, reason: message }, "the health check of a Service has no port");
    const regarding = { kind: "Service", namespace, name } as const;
    this.event({ regarding, type: "Warning", reason: "FailedToStartServiceHealthcheck", action: "Listen", note });
  }
}

const isLoopback = (text: string): boolean => text === "::1" || text.startsWith("127.");
