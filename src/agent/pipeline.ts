// SPDX-License-Identifier: Apache-2.0
// The stages of one agent, wired: source → store → compiler → programmer, with the node's addresses beside them; and
// what they say of themselves.

import type { Logger } from "pino";
import { Compiler } from "../compile/compile.ts";
import { countNoLocal } from "../compile/local-endpoints.ts";
import type { UnitDelta } from "../compile/unit.ts";
import type { Config } from "../config/schema.ts";
import { Store } from "../model/store.ts";
import type { NodeFacts, ServiceKey } from "../model/types.ts";
import { DeviceAddresses } from "../node/addresses.ts";
import { NodeError } from "../node/node-error.ts";
import type { Source } from "../source/source.ts";
import { Auditor } from "./audit.ts";
import { HeapTrim } from "./heap-trim.ts";
import type { Installation } from "./installation.ts";
import { Latency } from "./latency.ts";
import { Leftovers } from "./leftovers.ts";
import { LoopDelay } from "./loop-delay.ts";
import { Problems } from "./notices/problems.ts";
import { RefusalLog } from "./notices/refusal-log.ts";
import { SourceLog } from "./notices/source-log.ts";
import { capacityEvent, problemEvent } from "./notices/warnings.ts";
import { addressTexts, answersOnPrimary, cidrsOf, nodeAddresses, nodePortCidrs } from "./own-node/device-addresses.ts";
import { familyProblem } from "./own-node/families.ts";
import type { NodePorts } from "./own-node/node-ports.ts";
import { NodeView } from "./own-node/node-view.ts";
import type { AgentReport } from "./report.ts";
import type { PipelineFigures, Servers } from "./servers.ts";
import { SyncLoop } from "./sync-loop.ts";

const TICK_MS = 1_000;
const NOTHING: UnitDelta = { upserted: [], removed: [], problems: new Map() };

export interface PipelineOptions {
  readonly config: Config;
  readonly version: string;
  readonly node: string;
  readonly cgroup: string;
  readonly startedMs: number;
  readonly source: Source;
  readonly installation: Installation;
  readonly nodePorts: NodePorts;
  readonly servers: Servers;
  readonly warnings: readonly string[];
  readonly log: Logger;
}

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #store = new Store();
  readonly #latency = new Latency();
  readonly #heap = new HeapTrim();
  readonly #refusals = new RefusalLog();
  readonly #delay = new LoopDelay();
  readonly #problems: Problems;
  readonly #node: NodeView;
  readonly #compiler: Compiler;
  readonly #loop: SyncLoop;
  readonly #auditor: Auditor;
  readonly #sourceLog: SourceLog;
  readonly #leftovers: Leftovers;
  readonly #broken = Promise.withResolvers<never>();
  /** The node is known and the servers are open, as far as they can be. */
  #opened: Promise<void> = Promise.resolve();
  #addresses: DeviceAddresses | null = null;
  #tick: NodeJS.Timeout | null = null;
  #deviceAddresses: readonly Uint8Array[] = [];
  /** It is known on which of them NodePorts answer: the Node has said so, or will not. */
  #knowsNodePorts: boolean;
  #serviceCidrs: readonly string[] = [];
  readonly #stopping = new AbortController();
  #syncSec: number | null = null;
  /** Spent on writing to the kernel so far, and when that was last done, on the monotonic clock. */
  #writeMs = 0;
  #appliedMs = 0;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#problems = new Problems(options.log, (problem) => {
      const event = problemEvent(options.node, problem);
      if (event !== null) options.servers.event(event);
    });
    const found = options.installation.programmer.status().recovered;
    this.#sourceLog = new SourceLog(options.log, found);
    this.#leftovers = new Leftovers({ ...options, confirm: options.config.confirmMassDeletion });
    const { allowServiceExternalIps, externalIpsAllowed, clusterCidrs } = options.config;
    this.#knowsNodePorts = !answersOnPrimary(options.config);
    this.#node = new NodeView({
      nodeName: options.node,
      config: options.config,
      log: options.log,
      hasHeard: () => options.source.status().lastHeardNs > 0n,
      onFacts: (facts) => this.#setFacts(facts),
      onFatal: (error) => this.#broken.reject(error),
    });
    this.#auditor = this.#makeAuditor(options);
    this.#compiler = new Compiler(this.#node.facts, {
      allowServiceExternalIps,
      externalIpsAllowed: externalIpsAllowed === null ? null : cidrsOf(externalIpsAllowed),
      deviceAddresses: new Set(),
      clusterCidrs: cidrsOf(clusterCidrs),
      serviceCidrs: [],
      // Claims that others hold, and what waits for room in the map, are remembered too.
      mostFrontends: 2 * options.config.mapSizes.frontends,
    });
    this.#loop = this.#makeLoop(options.servers);
    options.servers.useFigures(this.#figures());
    options.installation.deadPeers.observe(({ family, durationSec, ended }) => {
      options.servers.metrics.reconciled(family, durationSec, ended);
    });
  }

  #makeLoop(servers: Servers): SyncLoop {
    return new SyncLoop({
      store: this.#store,
      compiler: this.#compiler,
      problems: this.#problems,
      latency: this.#latency,
      watch: servers.watch,
      onNode: (node) => {
        servers.setNode(node);
        this.#node.set(node);
      },
      onServiceCidrs: (cidrs) => this.#setServiceCidrs(cidrs),
      admit: () => this.#admit(),
      apply: (delta, more) => this.#apply(delta, more),
      onActive: () => this.#delay.active(),
      onDrained: () => this.#onDrained(),
      onSynced: () => this.#onSynced(),
      onComplete: () => this.#onComplete(),
      onFatal: (error) => this.#broken.reject(error),
    });
  }

  async #admit(): Promise<void> {
    await this.#opened;
    if (!this.#knowsNodePorts) {
      this.#knowsNodePorts = true;
      this.#setNodeAddresses();
    }
    await this.#leftovers.settle(this.#options.installation.programmer.units(), this.#store);
  }

  #makeAuditor({ installation, config, log }: PipelineOptions): Auditor {
    return new Auditor({
      audit: installation.programmer.audit,
      programs: installation.programs,
      periodSec: config.auditPeriodSec,
      log,
      onFatal: (error) => this.#broken.reject(error),
    });
  }

  /** Resolves at `stop`; rejects when an invariant is broken. */
  async run(stop: AbortSignal): Promise<void> {
    const { source, installation } = this.#options;
    const stopped = new Promise<void>((resolve) => {
      if (stop.aborted) resolve();
      else stop.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#addresses = new DeviceAddresses((addresses) => this.#setAddresses(addresses));
    this.#tick = setInterval(() => {
      this.#sourceLog.observe(source.status());
      const { watch } = this.#options.servers;
      // What failed may have been written by a round of the programmer's own since: that ends the failure all the same.
      if (installation.programmer.wantsRetry || watch.isFailing) {
        watch.applied(installation.programmer.retry());
        if (this.#loop.isDrained) this.#onDrained();
      }
      if (!installation.programmer.wantsRetry) this.#refusals.clear();
      if (this.#loop.isSynced) this.#heap.tick(performance.now() - this.#appliedMs);
    }, TICK_MS);
    this.#opened = this.#open();
    this.#opened.catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) this.#broken.reject(error);
    });
    this.#delay.active();
    source.start(this.#loop);
    this.#auditor.start();
    await Promise.race([stopped, this.#broken.promise]);
  }

  /** Ends every stage; nothing is written afterwards. */
  async stop(): Promise<void> {
    const { source, installation } = this.#options;
    this.#stopping.abort();
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#delay.stop();
    this.#addresses?.[Symbol.dispose]();
    await this.#auditor.stop();
    await source.stop();
    this.#loop.stop();
    await installation.programmer.settled();
    await installation.deadPeers.stop();
  }

  #apply(delta: UnitDelta, more = false): void {
    const { installation, nodePorts, servers, node, log } = this.#options;
    nodePorts.add(delta);
    const report = installation.programmer.apply(delta, more);
    const { added, changed, removed, refused, writes, writeMs, durationMs } = report;
    servers.watch.applied(report);
    this.#writeMs += writeMs;
    this.#appliedMs = performance.now();
    nodePorts.drop(delta);
    for (const unit of this.#refusals.news(refused)) {
      log.warn({ unit: unit.key, reason: unit.reason }, "not programmed; tried again when there is room");
      if (unit.capacity) servers.event(capacityEvent(node, unit));
    }
    log.debug({ added, changed, removed, writes, durationMs: Math.round(durationMs * 1_000) / 1_000 }, "programmed");
  }

  /** What hangs on the state in the kernel follows it. */
  #onDrained(): void {
    const { servers } = this.#options;
    const services = servers.watch.drained();
    if (services !== null) servers.synced(this.#store, services);
  }

  #onSynced(): void {
    const { installation, startedMs, log } = this.#options;
    if (installation.programs.replaced !== null) installation.programs.activate();
    this.#syncSec = (Date.now() - startedMs) / 1_000;
    this.#delay.synced();
    const { units, endpoints, fill, writes, pending } = installation.programmer.status();
    const counts = { services: this.#store.serviceCount, units, frontends: fill.frontends.used, endpoints };
    const writeMs = Math.round(this.#writeMs);
    log.info({ ...counts, pending: pending.length, writes, writeMs, seconds: this.#syncSec }, "in sync");
    installation.deadPeers.start(installation.programmer.units());
  }

  /** Everything is known: what an earlier agent left and nobody wants goes. */
  #onComplete(): void {
    const { installation, nodePorts } = this.#options;
    installation.programmer.allowDeletes();
    this.#apply(NOTHING);
    installation.deadPeers.start(installation.programmer.units());
    nodePorts.giveBack();
  }

  /** Only an API server has a Node that is worth waiting for; the servers open after that. */
  async #open(): Promise<void> {
    const { config, servers } = this.#options;
    if (config.source === "kubernetes") {
      await this.#node.wait(this.#stopping.signal);
      const problem = familyProblem(config, this.#node.facts, servers.families);
      if (problem !== null) throw new NodeError(problem);
    }
    await servers.open();
  }

  #setAddresses(addresses: readonly Uint8Array[]): void {
    this.#deviceAddresses = addresses;
    const texts = addressTexts(addresses);
    this.#options.log.debug({ addresses: [...texts] }, "device addresses");
    this.#setNodeAddresses();
    this.#recompile(this.#compiler.setDeviceAddresses(texts));
  }

  #setFacts(facts: NodeFacts): void {
    this.#knowsNodePorts ||= facts.primaryAddresses.length > 0;
    this.#setNodeAddresses();
    this.#recompile(this.#compiler.setFacts(facts));
  }

  #setServiceCidrs(cidrs: readonly string[]): void {
    this.#serviceCidrs = cidrs;
    this.#options.log.info({ cidrs }, "ServiceCIDRs");
    this.#recompile(this.#compiler.setServiceCidrs(cidrsOf(cidrs)));
  }

  #recompile(affected: ReadonlySet<ServiceKey> | "all"): void {
    if (affected !== "all" && affected.size === 0) return;
    this.#options.servers.watch.recompile(affected === "all");
    this.#loop.recompile(affected === "all" ? this.#store.serviceKeys() : affected);
  }

  /** Until it is known, what an earlier agent wrote stands. */
  #setNodeAddresses(): void {
    if (!this.#knowsNodePorts) return;
    const { config, installation, servers } = this.#options;
    const answering = nodePortCidrs(config, this.#node.facts.primaryAddresses);
    installation.programmer.setNodeAddresses(nodeAddresses(this.#deviceAddresses, answering));
    servers.setNodeAddresses(this.#deviceAddresses, answering);
  }

  #figures(): PipelineFigures {
    const { source, installation, startedMs } = this.#options;
    return {
      programmer: () => installation.programmer.status(),
      connections: () => installation.programmer.connections(),
      verdicts: () => installation.verdicts(),
      source: () => {
        const { state, lastHeardNs, counters } = source.status();
        const heardSec = Number(process.hrtime.bigint() - lastHeardNs) / 1e9;
        const ageSec = lastHeardNs === 0n ? (Date.now() - startedMs) / 1_000 : heardSec;
        return { connected: state === "synced", ageSec, counters };
      },
      objects: () => ({
        services: this.#store.serviceCount,
        endpointslices: this.#store.sliceCount,
        endpoints: this.#store.endpointCount,
      }),
      problems: () => this.#problems.counts(),
      loopDelay: () => this.#delay.report().since,
      audit: () => this.#auditor.report(),
      deadPeers: () => installation.deadPeers.status(),
      noLocalEndpoints: () => (this.#loop.isSynced ? countNoLocal(this.#compiler.units()) : null),
    };
  }

  report(): AgentReport {
    const { config, version, node, cgroup, startedMs, source, installation, nodePorts, servers, warnings } =
      this.#options;
    const { lastHeardNs, ...said } = source.status();
    const lastHeardSecAgo = lastHeardNs === 0n ? null : Number(process.hrtime.bigint() - lastHeardNs) / 1e9;
    const memory = process.memoryUsage();
    return {
      pid: process.pid,
      version,
      node,
      startedAt: new Date(startedMs).toISOString(),
      uptimeSec: (Date.now() - startedMs) / 1_000,
      synced: this.#loop.isSynced,
      waitsFor: this.#loop.isSynced ? null : (this.#node.waitsFor ?? "Services and EndpointSlices"),
      syncSec: this.#syncSec,
      paths: { bpffs: config.bpffs, cgroup, runDir: config.runDir, stateDir: config.stateDir },
      source: { ...said, lastHeardSecAgo, awaySince: this.#sourceLog.awaySince },
      servers: servers.addresses,
      objects: {
        services: this.#store.serviceCount,
        endpointSlices: this.#store.sliceCount,
        endpoints: this.#store.endpointCount,
      },
      programmer: installation.programmer.status(),
      latency: this.#latency.report(),
      loopDelay: this.#delay.report(),
      audit: this.#auditor.report(),
      deadPeers: installation.deadPeers.status(),
      problems: this.#problems.all(),
      warnings,
      nodeFacts: this.#node.facts,
      serviceCidrs: this.#serviceCidrs,
      deviceAddresses: [...addressTexts(this.#deviceAddresses)].sort(),
      reservedNodePorts: nodePorts.reservedCount,
      heldNodePorts: nodePorts.held(),
      memory: { rssBytes: memory.rss, heapUsedBytes: memory.heapUsed },
    };
  }
}
