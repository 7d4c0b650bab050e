// SPDX-License-Identifier: Apache-2.0
// portolan in the test cluster: one process a node, with two capabilities; on one node with the account of
// deploy/rbac.yaml, on the other with what kubeadm would have installed for kube-proxy, byte for byte.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { Daemon } from "../support/daemon.ts";
import type { Cluster } from "./cluster.ts";
import type { ClusterNode } from "./node.ts";

/** What an agent logs once everything is programmed. */
export interface InSync {
  readonly units: number;
  /** Into maps, since its start. */
  readonly writes: number;
  readonly seconds: number;
}

/** How an agent is started on its node. */
export type Launch = (node: ClusterNode) => readonly string[];

const roles = readFileSync(new URL("../../deploy/rbac.yaml", import.meta.url), "utf8");
const capabilities = "--bounding-set=-all,+bpf,+net_admin";
const kubeconfig = "kubernetes/portolan.json";

const tokenOf = (cluster: Cluster, account: string): Promise<string> =>
  cluster.kubectl(["create", "token", account, "--namespace=kube-system", "--duration=24h"]);

const clusterCa = (cluster: Cluster): Buffer =>
  readFileSync(join(cluster.nodes[0].folder, "etc/kubernetes/pki/ca.crt"));

/** portolan's own account, its kubeconfig on the node, its own command line. */
export async function ownAccount(cluster: Cluster, node: ClusterNode): Promise<Launch> {
  await cluster.kubectl(["apply", "-f", "-"], roles);
  const token = await tokenOf(cluster, "portolan");
  const [controlPlane] = cluster.nodes;
  const ca = clusterCa(cluster);
  const api = { server: `https://${controlPlane.ipv4}:6443`, "certificate-authority-data": ca.toString("base64") };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster: api }],
    users: [{ name: "portolan", user: { token: token.trim() } }],
    contexts: [{ name: "portolan", context: { cluster: "cluster", user: "portolan" } }],
    "current-context": "portolan",
  };
  node.writeEtc(kubeconfig, JSON.stringify(config));
  return ({ name }) => ["portolan", "run", `--kubeconfig=/etc/${kubeconfig}`, `--hostname-override=${name}`];
}

interface Manifest {
  readonly kind: string;
  readonly data?: Readonly<Record<string, string>>;
}

/**
 * What kubeadm installs for kube-proxy, without its DaemonSet: the ServiceAccount, its role, the ConfigMap. The files of
 * ConfigMap and account go where the DaemonSet mounts them, and the command line is the DaemonSet's.
 */
export async function kubeProxyAccount(cluster: Cluster, node: ClusterNode): Promise<Launch> {
  const addon = ["kubeadm", "init", "phase", "addon", "kube-proxy", "--print-manifest"];
  const printed = await cluster.nodes[0].run([...addon, "--config=/etc/kubernetes/kubeadm.yaml"]);
  const manifests = parseAllDocuments(printed).map((document) => document.toJS() as Manifest);
  const wanted = manifests.filter(({ kind }) => kind !== "DaemonSet");
  await cluster.apply(wanted);
  const files = wanted.find(({ kind }) => kind === "ConfigMap")?.data ?? {};
  for (const [name, text] of Object.entries(files)) await node.writeFile(`/var/lib/kube-proxy/${name}`, text);
  const account = "/var/run/secrets/kubernetes.io/serviceaccount";
  await node.writeFile(`${account}/ca.crt`, clusterCa(cluster).toString());
  await node.writeFile(`${account}/token`, await tokenOf(cluster, "kube-proxy"));
  // By its whole path: the real kube-proxy, built for other tests, may come first in PATH.
  const program = "/opt/portolan/bin/kube-proxy";
  return ({ name }) => [program, "--config=/var/lib/kube-proxy/config.conf", `--hostname-override=${name}`];
}

/** The agent of one node; it may be started again after its end. */
export class Agent {
  readonly node: ClusterNode;
  readonly #launch: Launch;
  #daemon: Daemon | undefined;

  constructor(node: ClusterNode, launch: Launch) {
    this.node = node;
    this.#launch = launch;
  }

  /** Returns when everything is programmed. */
  async start(): Promise<InSync> {
    const before = this.#daemon?.log().length ?? 0;
    const daemon = this.node.start("portolan", ["setpriv", capabilities, "--", ...this.#launch(this.node)]);
    this.#daemon = daemon;
    return await daemon.until("in sync", () => inSync(daemon.log().slice(before)), 180_000);
  }

  /** SIGKILL; returns, with how it ended, when it has. */
  async kill(): Promise<string> {
    await this.node.kill("portolan", "KILL");
    return `by ${(await this.#daemon?.exited)?.signal}`;
  }

  /** The end of everything its processes have logged. */
  get logTail(): string {
    return this.#daemon?.tail() ?? "";
  }
}

/** From a JSON line, or from kube-proxy's form of one. */
function inSync(log: string): InSync | undefined {
  const line = log.split("\n").find((text) => text.includes('"in sync"'));
  if (line === undefined) return undefined;
  const field = (name: string): number => Number(new RegExp(`\\b${name}"?[=:]([\\d.]+)`).exec(line)?.[1]);
  return { units: field("units"), writes: field("writes"), seconds: field("seconds") };
}
