// SPDX-License-Identifier: Apache-2.0
// The real kube-proxy on a bed's node, as that which the agent is compared with: one configuration for both.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { command, Daemon } from "../support/daemon.ts";
import { kubeBinaries } from "../support/kube.ts";
import type { Bed } from "./bed.ts";

/** In nftables mode, under the agent's account; sysctls of the machine are left alone. */
export const proxyConfiguration = ({ plane }: Bed): object => ({
  apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
  kind: "KubeProxyConfiguration",
  mode: "nftables",
  clientConnection: { kubeconfig: plane.agentKubeconfig },
  hostnameOverride: "node1",
  conntrack: { maxPerCore: 0, min: 0 },
});

/** Starts it beside the node's processes; whoever starts it stops it. */
export async function startKubeProxy(bed: Bed): Promise<Daemon> {
  const file = join(bed.dir, "kube-proxy.json");
  writeFileSync(file, JSON.stringify(proxyConfiguration(bed)));
  const program = join(await kubeBinaries(["kube-proxy"]), "kube-proxy");
  const place = { netns: bed.node.netns, cgroup: bed.system };
  return new Daemon([program, `--config=${file}`], join(bed.dir, "kube-proxy.log"), place);
}

/** What it leaves behind when it ends. */
export async function removeRules({ node }: Bed): Promise<void> {
  for (const family of ["ip", "ip6"]) await command(["nft", "delete", "table", family, "kube-proxy"], node);
}

/** What `ask` finds out while it runs. Its rules are taken away again. */
export async function besideKubeProxy<T>(bed: Bed, ask: (proxy: Daemon) => Promise<T>): Promise<T> {
  const proxy = await startKubeProxy(bed);
  try {
    return await ask(proxy);
  } finally {
    await proxy.stop("SIGKILL");
    await removeRules(bed);
  }
}
