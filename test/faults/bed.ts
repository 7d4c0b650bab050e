// SPDX-License-Identifier: Apache-2.0
// The real agent on a faulty API server: both in a network namespace of their own, a Service with a backend that
// answers, and the agent's word on itself by its control socket.

import { execFile } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sys } from "libbpf-ts";
import { askAgent } from "../../src/agent/control-client.ts";
import type { AgentReport } from "../../src/agent/report.ts";
import { ANSWER, Bed, call, portolan } from "../cli/bed.ts";
import { type ApiObject, FaultApiServer } from "../support/api-server.ts";
import type { ServerTls } from "../support/certificates.ts";
import { Daemon, eventually, placed } from "../support/daemon.ts";
import { Stall } from "../support/stall.ts";
import { kubeconfig } from "../unit/source/objects.ts";
import type { Figure } from "./figures.ts";

/** The Service that the backend of every bed serves, and its port. */
export const WEB = "10.96.0.80";
const NODE_ADDRESS = "10.77.0.1";
const BACKEND_PORT = 8080;
/** Of servers: the bed's namespace is its own, and nobody there is given these. */
const FIRST_SERVER_PORT = 20_000;
/** Longer than the longest wait before another try, and what a slow machine makes of it. */
const PATIENCE_MS = 120_000;

/** Of a figure. */
export type Duration = Required<Pick<Figure, "seen" | "stalled" | "unit">>;

export interface Running {
  readonly agent: Daemon;
  /** What it says once it is in sync. */
  readonly report: AgentReport;
}

/** One at a time: the whole process is there. */
let visits: Promise<unknown> = Promise.resolve();

export class FaultBed {
  readonly bed: Bed;
  readonly #servers: FaultApiServer[] = [];
  readonly #agents: Daemon[] = [];
  readonly #stall = new Stall();
  #runs = 0;

  private constructor(bed: Bed) {
    this.bed = bed;
  }

  static async create(): Promise<FaultBed> {
    const faults = new FaultBed(await Bed.create());
    try {
      await faults.bed.daemon([process.execPath, "-e", ANSWER, String(BACKEND_PORT), "hello"], faults.bed.served);
      return faults;
    } catch (error) {
      await faults.remove();
      throw error;
    }
  }

  /** An API server of this test process that listens in the bed's network namespace, with the Node, web and its slice. */
  async serve(options: { port?: number; version?: number; tls?: ServerTls } = {}): Promise<FaultApiServer> {
    const port = FIRST_SERVER_PORT + this.#servers.length;
    const server = await this.inside(() => FaultApiServer.start({ port, ...options }));
    this.#servers.push(server);
    stock(server);
    return server;
  }

  /** Runs something that makes sockets with this process in the bed's network namespace; they stay there. */
  inside<T>(make: () => Promise<T>): Promise<T> {
    const visit = visits.then(() => this.#enter(make));
    visits = visit.catch(() => undefined);
    return visit;
  }

  async #enter<T>(make: () => Promise<T>): Promise<T> {
    const home = openSync("/proc/self/ns/net", "r");
    try {
      sys.setns(`/run/netns/${this.bed.netns}`, "net");
      return await make();
    } finally {
      sys.setns(`/proc/self/fd/${home}`, "net");
      closeSync(home);
    }
  }

  /** A kubeconfig's path. */
  kubeconfig(url: string, extra: Parameters<typeof kubeconfig>[2] = {}): string {
    return kubeconfig(this.bed.dir, url, extra);
  }

  /** Starts an agent on the API server of this kubeconfig; null: whatever it finds by its environment. */
  start(kubeconfigPath: string | null, flags: readonly string[] = [], env: readonly string[] = []): Daemon {
    const source = ["--source=kubernetes", ...(kubeconfigPath === null ? [] : [`--kubeconfig=${kubeconfigPath}`])];
    const argv = ["env", ...env, portolan, "run", ...this.bed.runFlags, ...source, ...flags];
    const agent = new Daemon(argv, join(this.bed.dir, `fault-agent-${++this.#runs}.log`), this.bed.host);
    this.#agents.push(agent);
    this.#stall.follow(agent.pid);
    return agent;
  }

  /** Starts an agent and waits until it is in sync. */
  async sync(server: FaultApiServer, flags: readonly string[] = []): Promise<Running> {
    const agent = this.start(this.kubeconfig(server.url), flags);
    return { agent, report: await this.synced(agent) };
  }

  synced(agent: Daemon): Promise<AgentReport> {
    const synced = async () => {
      const report = await this.report();
      return report?.synced ? report : undefined;
    };
    return agent.until("in sync", synced, PATIENCE_MS);
  }

  /** Seconds that something takes, and for how many of them the machine kept this process and the agents from running. */
  async seconds(work: () => Promise<unknown>): Promise<Duration> {
    const [startMs, stalledMs] = [performance.now(), this.#stall.ms];
    await work();
    const [tookMs, ofThatMs] = [performance.now() - startMs, this.#stall.ms - stalledMs];
    return { seen: tookMs / 1_000, stalled: ofThatMs / 1_000, unit: "s" };
  }

  /** Null while no agent answers. */
  async report(): Promise<AgentReport | null> {
    return await askAgent<AgentReport>(this.bed.runDir, "/v1/status").catch(() => null);
  }

  /** Its word on itself just now, however busy it is. */
  state(): Promise<AgentReport> {
    return this.says("anything", () => true);
  }

  /** Waits until the agent's word on itself is as wanted; gives it. */
  says(what: string, wanted: (report: AgentReport) => boolean): Promise<AgentReport> {
    const look = async () => {
      const report = await this.report();
      return report !== null && wanted(report) ? report : undefined;
    };
    return eventually(`the agent says ${what}`, look, { withinMs: PATIENCE_MS, everyMs: 100 });
  }

  counter(report: AgentReport, name: string): number {
    return report.source.counters[name] ?? 0;
  }

  /** Waits until the watch delivers: the proof that it lives. */
  async live(server: FaultApiServer): Promise<void> {
    const before = (await this.state()).objects.services;
    server.put("services", service(`live-${++this.#runs}`, `10.96.200.${this.#runs}`));
    await this.says("one Service more", ({ objects }) => objects.services > before);
  }

  /** What a process of the node gets from web. */
  hello(): Promise<string> {
    return call(this.bed.served, WEB, 80);
  }

  /** A program of the node that works until its input ends. */
  async load(argv: readonly string[]): Promise<{ end(): void; readonly output: Promise<string> }> {
    const [file, ...args] = placed(argv, this.bed.served);
    const child = execFile(file, args);
    const output = new Promise<string>((resolve, reject) => {
      let text = "";
      child.stdout?.on("data", (part: string) => {
        text += part;
      });
      child.on("error", reject);
      child.on("close", () => resolve(text));
    });
    return { end: () => child.stdin?.end(), output };
  }

  config(text: string): string {
    const path = join(this.bed.dir, "config.yaml");
    writeFileSync(path, `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n${text}\n`);
    return path;
  }

  async remove(): Promise<void> {
    this.#stall.stop();
    for (const agent of this.#agents) await agent.stop("SIGKILL");
    for (const server of this.#servers) await server.stop();
    await this.bed.remove();
  }
}

export function service(name: string, clusterIP: string, namespace = "shop"): ApiObject {
  return {
    metadata: { name, namespace, uid: `${namespace}-${name}` },
    spec: { clusterIP, clusterIPs: [clusterIP], ports: [{ name: "", protocol: "TCP", port: 80 }] },
  };
}

export function slice(name: string, of: string, addresses: readonly string[], port = BACKEND_PORT): ApiObject {
  return {
    metadata: { name, namespace: "shop", labels: { "kubernetes.io/service-name": of } },
    addressType: "IPv4",
    ports: [{ name: "", protocol: "TCP", port }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node1", conditions: { ready: true } })),
  };
}

/** What every server begins with. */
export function stock(server: FaultApiServer): void {
  const addresses = [{ type: "InternalIP", address: NODE_ADDRESS }];
  server.put("nodes", { metadata: { name: "node1", uid: "node1" }, status: { addresses } });
  server.put("services", service("web", WEB));
  server.put("endpointslices", slice("web-1", "web", [NODE_ADDRESS]));
}

/** `count` Services with a slice each, in one step. */
export function crowd(server: FaultApiServer, count: number): void {
  for (let i = 0; i < count; i++) {
    server.put("services", service(`crowd-${i}`, `10.96.100.${i + 1}`));
    server.put("endpointslices", slice(`crowd-${i}`, `crowd-${i}`, [NODE_ADDRESS]));
  }
}

export const fds = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Resident memory in MiB: now, and the most since `resetPeak`. */
export function memory(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mebibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) / 1024;
  return { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") };
}

export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}
