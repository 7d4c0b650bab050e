// SPDX-License-Identifier: Apache-2.0
// The composition root: builds the stages, wires them, starts them, and takes them down again. The datapath outlives it.

import { mkdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import type { Logger } from "pino";
import type { Config } from "../config/schema.ts";
import { socketObject } from "../datapath/object-file.ts";
import { Refusal } from "../datapath/refusal.ts";
import { setConntrack } from "../node/conntrack-settings.ts";
import { ReservedPorts, reservedPortsFile } from "../node/reserved-ports.ts";
import { ManifestSource } from "../source/manifests.ts";
import type { Source } from "../source/source.ts";
import { install } from "./installation.ts";
import { openLog } from "./notices/log.ts";
import { sourceWatcher } from "./notices/source-log.ts";
import { massDeletionEvent } from "./notices/warnings.ts";
import { NodePorts } from "./own-node/node-ports.ts";
import { Pipeline } from "./pipeline.ts";
import { type Finding, findingText } from "./preflight/finding.ts";
import { preflight, refusals } from "./preflight/preflight.ts";
import type { Servers } from "./servers.ts";

export interface AgentOptions {
  readonly config: Config;
  readonly version: string;
  /** Replace pinned maps that do not match instead of refusing. */
  readonly recreateMaps: boolean;
  /** What is to be said of the settings: flags and fields without effect. */
  readonly notes: readonly string[];
  /** The command line's flags by name, for people who ask. */
  readonly flags: Readonly<Record<string, string>>;
  /** Ends the agent. */
  readonly stop: AbortSignal;
}

/** What preflight finds, and whether an agent with this configuration would start. */
export function checkNode(config: Config): { readonly findings: readonly Finding[]; readonly ready: boolean } {
  const { findings } = preflight(config, socketObject());
  return { findings, ready: refusals(findings, config.replacement).length === 0 };
}

/**
 * Only what takes more privileges than serving does: the checks, connection tracking's settings, directories. Throws
 * Refusal or ConntrackError.
 */
export async function prepareNode(config: Config, notes: readonly string[]): Promise<void> {
  const log = await openLog(config);
  for (const note of notes) log.info(note);
  for (const warning of admit(config).warnings) log.warn(warning);
  trackConnections(config, log);
  mkdirSync(config.runDir, { recursive: true, mode: 0o750 });
  mkdirSync(config.stateDir, { recursive: true, mode: 0o755 });
  log.info("the node is prepared");
}

/**
 * Runs until `stop`. Throws SourceConfigError, Refusal, ConntrackError, AgentRunning or a failure of the start, having
 * undone what it made; and a broken invariant later, with the datapath in place.
 */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { config, version, stop } = options;
  const startedMs = Date.now();
  const log = await openLog(config);
  const node = (config.hostnameOverride ?? hostname()).trim().toLowerCase();
  log.info({ version, node, source: config.source, pid: process.pid }, "portolan starts");
  for (const note of options.notes) log.info(note);
  // Loaded by whoever runs an agent, and not by every command.
  const { Servers } = await import("./servers.ts");
  const servers = new Servers({ ...options, node, startedMs, log });
  // What cannot work without the user's help is told before anything is touched.
  const source = await openSource(config, { node, log, servers });
  servers.useWriter(source.change);
  const { cgroup, warnings } = admit(config);
  for (const warning of warnings) log.warn(warning);
  setOomScore(config.oomScoreAdj, log);
  trackConnections(config, log);

  const nodePorts = new NodePorts({
    log,
    reserved: new ReservedPorts(reservedPortsFile(config.runDir)),
    reserve: config.reserveNodePorts,
    bindGuard: config.bindGuard,
  });
  let pipeline: Pipeline | null = null;
  const answers = {
    "/v1/pid": () => ({ pid: process.pid }),
    "/v1/status": () => pipeline?.report() ?? null,
  };
  const installation = await install({ ...options, cgroup, bindGuard: nodePorts.bindGuard, answers, log });
  const parts = { source, installation, nodePorts, servers };
  pipeline = new Pipeline({ config, version, node, cgroup, startedMs, ...parts, warnings, log });
  try {
    await pipeline.run(stop);
    log.info({ signal: stop.reason }, "portolan stops; the datapath stays in place");
  } finally {
    await servers.close();
    await pipeline.stop();
    await installation.close();
  }
}

/** The checks before a start. Throws Refusal. */
function admit(config: Config): { readonly cgroup: string; readonly warnings: readonly string[] } {
  const { findings, cgroup } = preflight(config, null);
  const reasons = refusals(findings, config.replacement);
  if (reasons.length > 0 || cgroup === null) throw new Refusal(reasons);
  return { cgroup, warnings: findings.filter(({ result }) => result !== "ok").map(findingText) };
}

/** Throws SourceConfigError for a folder or a kubeconfig that is not there or not usable. */
async function openSource(config: Config, around: Around): Promise<Source> {
  const { serviceProxyName } = config;
  const { node, log, servers } = around;
  const whose = { nodeName: node, serviceProxyName };
  if (config.source.startsWith("dir:"))
    return new ManifestSource({ path: config.source.slice("dir:".length), ...whose });
  // The client's packages are only paid for by who talks to an API server.
  const { KubernetesSource } = await import("../source/kubernetes.ts");
  const { kubeconfig, apiServers, stateDir, confirmMassDeletion } = config;
  const watcher = sourceWatcher(log, (notice) => servers.event(massDeletionEvent(node, notice)));
  const onRequest = servers.client.request;
  const options = { kubeconfig, servers: apiServers, stateDir, confirmMassDeletion, watcher, onRequest };
  return await KubernetesSource.load({ ...options, ...whose });
}

/** Whom a source tells besides its sink. */
interface Around {
  readonly node: string;
  readonly log: Logger;
  readonly servers: Servers;
}

function setOomScore(score: number, log: Logger): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", `${score}`);
  } catch (error) {
    log.info({ score, reason: (error as Error).message }, "oom_score_adj stays as it is");
  }
}

function trackConnections({ conntrack }: Config, log: Logger): void {
  for (const change of setConntrack(conntrack)) log.info(change, "connection tracking set");
}
