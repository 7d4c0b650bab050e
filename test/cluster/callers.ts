// SPDX-License-Identifier: Apache-2.0
// Those who call Services: a client pod and the host on each node. All use the pod program's client.

import type { Cluster } from "./cluster.ts";
import { clientOf } from "./workload.ts";

/** Of a call that is to be answered: the machine may be slow. */
const PATIENCE_SEC = 30;

export interface Answer {
  /** The backend's name. */
  readonly pod: string;
  /** The caller's address as the backend saw it. */
  readonly client: string;
}

export interface Caller {
  readonly name: string;
  /** Its node's. */
  readonly nodeAddress: string;
  /** Of a pod: its own address, which backends must see, and that it resolves DNS names. */
  readonly podAddress?: string;
  /** Calls a backend `times` times, each on a connection of its own. */
  answers(url: string, options?: { readonly times?: number; readonly patienceSec?: number }): Promise<Answer[]>;
  /** One request to the API server, whose certificate must be right. */
  api(host: string, patienceSec?: number): Promise<string>;
  lookup(name: string): Promise<string>;
}

/** The callers of the cluster, pods first. */
export async function findCallers(cluster: Cluster): Promise<Caller[]> {
  const pods: Caller[] = [];
  const hosts: Caller[] = [];
  for (const node of cluster.nodes) {
    const { name, ipv4: nodeAddress } = node;
    const pod = clientOf(name);
    const podAddress = await cluster.kubectl(["get", "pod", pod, "-o=jsonpath={.status.podIP}"]);
    const inPod = (args: readonly string[]) => cluster.kubectl(["exec", pod, "--", "/pod", ...args]);
    const ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    pods.push({ name: `pod on ${name}`, nodeAddress, podAddress, ...client(inPod, ca) });
    const onHost = (args: readonly string[]) => node.run(["pod", ...args]);
    hosts.push({ name, nodeAddress, ...client(onHost, "/etc/kubernetes/pki/ca.crt") });
  }
  return [...pods, ...hosts];
}

function client(
  program: (args: readonly string[]) => Promise<string>,
  ca: string,
): Pick<Caller, "answers" | "api" | "lookup"> {
  return {
    async answers(url, { times = 1, patienceSec = PATIENCE_SEC } = {}) {
      const lines = (await program(["call", String(times), String(patienceSec), url])).trimEnd().split("\n");
      return lines.map((line) => JSON.parse(line) as Answer);
    },
    async api(host, patienceSec = PATIENCE_SEC) {
      const text = await program(["call", "1", String(patienceSec), `https://${host}/version`, ca]);
      return (JSON.parse(text) as { gitVersion: string }).gitVersion;
    },
    async lookup(name) {
      return (await program(["lookup", name])).trimEnd();
    },
  };
}
