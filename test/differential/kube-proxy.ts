// SPDX-License-Identifier: Apache-2.0
// The real kube-proxy in a world's node namespace. What it is told besides the mode is kubeadm's, but for what would
// reach beyond its namespace, and for the time it waits between two syncs.

import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon } from "../support/daemon.ts";
import { type ControlPlane, kubeBinaries } from "../support/kube.ts";
import type { World } from "../support/world.ts";
import { POD_RANGES } from "../support/world-network.ts";

export type ProxyMode = "nftables" | "iptables";

export interface ProxySettings {
  readonly kubeconfig: string;
  readonly hostnameOverride: string;
  /** Fields that take the place of those below. */
  readonly other: object;
}

/** A KubeProxyConfiguration, for kube-proxy and for portolan alike. */
export function proxyConfiguration(mode: ProxyMode, settings: ProxySettings): object {
  const { kubeconfig, hostnameOverride, other } = settings;
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode,
    hostnameOverride,
    clientConnection: { kubeconfig },
    clusterCIDR: POD_RANGES.join(","),
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    [mode]: { minSyncPeriod: "20ms" },
    ...other,
  };
}

/** Starts it; it runs until the world ends. */
export async function startKubeProxy(
  world: World,
  mode: ProxyMode,
  plane: ControlPlane,
  settings: Omit<ProxySettings, "kubeconfig">,
): Promise<Daemon> {
  const folder = join(plane.dir, `kube-proxy-${mode}`);
  const tools = join(folder, "tools");
  mkdirSync(tools, { recursive: true });
  for (const tool of ["iptables", "ip6tables"].flatMap((family) => [family, `${family}-save`, `${family}-restore`])) {
    symlinkSync("/usr/sbin/xtables-nft-multi", join(tools, tool));
  }
  const config = join(folder, "config.json");
  writeFileSync(config, JSON.stringify(proxyConfiguration(mode, { ...settings, kubeconfig: plane.adminKubeconfig })));
  const binary = join(await kubeBinaries(["kube-proxy"]), "kube-proxy");
  const argv = ["env", `PATH=${tools}:${process.env["PATH"]}`, binary, `--config=${config}`, "-v=2"];
  const proxy = new Daemon(argv, join(folder, "log"), world.place);
  world.atEnd(() => proxy.stop("SIGKILL"));
  return proxy;
}
