// SPDX-License-Identifier: Apache-2.0
// portolan in the test cluster: one process a node, with two capabilities and the account of deploy/rbac.yaml.

import { readFileSync } from "node:fs";
import { join } from "node:path";
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

const roles = readFileSync(new URL("../../deploy/rbac.yaml", import.meta.url), "utf8");
const capabilities = "--bounding-set=-all,+bpf,+net_admin";
const kubeconfig = "kubernetes/portolan.json";

/** Makes the agents' account and puts its kubeconfig on every node. */
export async function makeAccount(cluster: Cluster): Promise<void> {
  await cluster.kubectl(["apply", "-f", "-"], roles);
  const token = await cluster.kubectl(["create", "token", "portolan", "--namespace=kube-system", "--duration=24h"]);
  const [controlPlane] = cluster.nodes;
  const ca = readFileSync(join(controlPlane.folder, "etc/kubernetes/pki/ca.crt"));
  const api = { server: `https://${controlPlane.ipv4}:6443`, "certificate-authority-data": ca.toString("base64") };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster: api }],
    users: [{ name: "portolan", user: { token: token.trim() } }],
    contexts: [{ name: "portolan", context: { cluster: "cluster", user: "portolan" } }],
    "current-context": "portolan",
  };
  for (const node of cluster.nodes) node.writeEtc(kubeconfig, JSON.stringify(config));
}

/** The agent of one node; it may be started again after its end. */
export class Agent {
  readonly node: ClusterNode;
  #daemon: Daemon | undefined;

  constructor(node: ClusterNode) {
    this.node = node;
  }

  /** Returns when everything is programmed. */
  async start(): Promise<InSync> {
    const before = this.#daemon?.log().length ?? 0;
    const flags = [`--kubeconfig=/etc/${kubeconfig}`, `--hostname-override=${this.node.name}`];
    const daemon = this.node.start("portolan", ["setpriv", capabilities, "--", "portolan", "run", ...flags]);
    this.#daemon = daemon;
    return await daemon.until("in sync", () => inSync(daemon.log().slice(before)));
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

function inSync(log: string): InSync | undefined {
  const line = log.split("\n").find((text) => text.includes('"msg":"in sync"'));
  return line === undefined ? undefined : (JSON.parse(line) as InSync);
}
