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

/** What `ask` finds out while it runs. Its rules are taken away again. */
export async function besideKubeProxy<T>(bed: Bed, ask: (proxy: Daemon) => Promise<T>): Promise<T> {
  const place = { netns: bed.node.netns };
  const file = join(bed.dir, "kube-proxy.json");
  writeFileSync(file, JSON.stringify(proxyConfiguration(bed)));
  const program = join(await kubeBinaries(["kube-proxy"]), "kube-proxy");
  const proxy = new Daemon([program, `--config=${file}`], join(bed.dir, "kube-proxy.log"), place);
  try {
    return await ask(proxy);
  } finally {
    await proxy.stop("SIGKILL");
    for (const family of ["ip", "ip6"]) await command(["nft", "delete", "table", family, "kube-proxy"], place);
  }
}
