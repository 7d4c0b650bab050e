// SPDX-License-Identifier: Apache-2.0
// `make test-cluster`: does portolan serve a real cluster that has no kube-proxy? Makes a cluster of three nodes with
// kubeadm in namespaces of this machine, one agent a node, checks every call, kills and starts the agents, runs
// Kubernetes' own specs of Services, and takes it all away again. Root, some minutes, 3 GB of memory.
// PORTOLAN_LOGS=FOLDER keeps the logs.

import { cpSync, existsSync } from "node:fs";
import { Agent, type InSync, kubeProxyAccount, ownAccount } from "./agent.ts";
import { Bed, removeBed } from "./bed.ts";
import { type Caller, findCallers } from "./callers.ts";
import { checkCalls, checkSpread, checkWithoutProxy } from "./calls.ts";
import { Checks, demand } from "./checks.ts";
import { buildPrograms, Cluster } from "./cluster.ts";
import { checkEndToEnd } from "./e2e.ts";
import { checkServers } from "./servers.ts";
import { backendsOf, deploy, replaceBackends, type Web } from "./workload.ts";

interface Scene {
  readonly cluster: Cluster;
  readonly agents: readonly Agent[];
  readonly web: Web;
  readonly callers: readonly Caller[];
}

const say = (stage: string): void => console.log(`\n${(performance.now() / 1000).toFixed(1)} s  ${stage}`);

async function setScene(bed: Bed, kube: string): Promise<Scene> {
  const cluster = await Cluster.start(bed, kube, say);
  const web = await deploy(cluster);
  const agents: Agent[] = [];
  for (const [index, node] of cluster.nodes.entries()) {
    const account = index === 1 ? kubeProxyAccount : ownAccount;
    agents.push(new Agent(node, await account(cluster, node)));
  }
  say("backends and clients are Ready");
  return { cluster, web, agents, callers: await findCallers(cluster) };
}

/** The story of a cluster, each step a few checks; it ends early where agents do not start. */
async function checkCluster(checks: Checks, { cluster, agents, web, callers }: Scene): Promise<void> {
  const called = { web, backends: await backendsOf(cluster) };
  await checkWithoutProxy(checks, callers, called);

  say("the agents start");
  await startAgents(checks, agents);
  if (checks.failed > 0) return;
  await checks.check("both CoreDNS pods Ready", () => coreDnsReady(cluster));
  await checkCalls(checks, callers, called);
  for (const node of cluster.nodes) await checkServers(checks, cluster, node);

  say("kill -9 of every agent");
  const before = await told(cluster);
  for (const agent of agents) await checks.check(`${agent.node.name}, agent killed`, () => agent.kill());
  await checkCalls(checks, callers, called);

  say("the agents start again");
  for (const agent of agents) {
    await checks.check(`${agent.node.name}, agent in sync after 0 writes`, () => startAgain(cluster, agent, before));
  }

  say("every backend is replaced");
  await replaceBackends(cluster);
  const replaced = { web, backends: await backendsOf(cluster) };
  for (const caller of callers) await checkSpread(checks, caller, replaced);

  say("Kubernetes' own specs");
  await checkEndToEnd(checks, cluster);
}

const words = ({ units, writes, seconds }: InSync): string => `${units} units, ${writes} writes, ${seconds} s`;

async function startAgents(checks: Checks, agents: readonly Agent[]): Promise<void> {
  for (const agent of agents) {
    await checks.check(`${agent.node.name}, agent in sync`, async () => words(await agent.start()));
  }
}

/** Versions of all that agents program. */
function told(cluster: Cluster): Promise<string> {
  const versions = "-o=jsonpath={range .items[*]}{.metadata.uid} {.metadata.resourceVersion}{'\\n'}{end}";
  return cluster.kubectl(["get", "services,endpointslices", "--all-namespaces", versions]);
}

/** Nothing may be written if nothing has changed since `before`. If something has, a busy node's probe say, once more. */
async function startAgain(cluster: Cluster, agent: Agent, before: string, tries = 5): Promise<string> {
  const seen = await agent.start();
  if (seen.writes === 0) return words(seen);
  const now = await told(cluster);
  demand(now !== before && tries > 0, words(seen));
  await agent.kill();
  return await startAgain(cluster, agent, now, tries - 1);
}

/** They take half a minute: what they tried to connect before there was a proxy has to give up first. */
async function coreDnsReady(cluster: Cluster): Promise<string> {
  const pods = ["--namespace=kube-system", "pod", "--selector=k8s-app=kube-dns"];
  const started = performance.now();
  await cluster.kubectl(["wait", "--for=condition=Ready", ...pods, "--timeout=600s"]);
  const names = (await cluster.kubectl(["get", ...pods, "-o=name"])).trim().split("\n");
  if (names.length !== 2) throw new Error(`there are ${names.length}: ${names.join(", ")}`);
  return `after ${((performance.now() - started) / 1000).toFixed(1)} s`;
}

/** Takes the bed away when this process ends, however it ends; SIGKILL alone leaves something for the next run to remove. */
function removeAtExit(bed: Bed): void {
  const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
  for (const [signal, code] of Object.entries(signals)) process.once(signal, () => process.exit(code));
  process.once("exit", () => {
    const logs = process.env["PORTOLAN_LOGS"];
    if (logs && existsSync(bed.logs)) cpSync(bed.logs, logs, { recursive: true });
    removeBed(bed.name);
  });
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error("the test cluster needs root: namespaces, cgroups, mounts");
  const kube = await buildPrograms();
  const checks = new Checks();
  const bed = await Bed.make(removeAtExit);
  const scene = await setScene(bed, kube);
  await checkCluster(checks, scene);
  if (checks.failed > 0) for (const { node, logTail } of scene.agents) console.log(`\n${node.name}:\n${logTail}`);
  say("done");
  console.log(checks.total);
  return checks.failed === 0 ? 0 : 1;
}

process.exit(
  await main().catch((error: unknown) => {
    console.error(error);
    return 1;
  }),
);
