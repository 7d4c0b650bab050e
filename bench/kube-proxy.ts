// SPDX-License-Identifier: Apache-2.0
// The real kube-proxy in each of its modes, fed by a real API server: it runs in a node's namespace until its rules are
// in place and is then stopped; the rules stay, as they do on a node.

import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command } from "../test/support/daemon.ts";
import { ControlPlane, kubeBinaries } from "../test/support/kube.ts";
import { type Bed, type BenchNode, CLUSTER_CIDR } from "./bed.ts";
import { shortConntrack } from "./generated.ts";
import type { Lane, Mode } from "./lane.ts";
import { type BenchService, NAMESPACE, serviceObject, sliceObject } from "./services.ts";

/** The API server's, on the server namespace's loopback: every node's default route leads there. */
const API_ADDRESS = "172.21.0.1";
const SYNC_TIMEOUT_MS = 900_000;
const CREATE_TIMEOUT_MS = 900_000;

type Peer = Exclude<Mode, "portolan">;

/** What a kubeconfig of ControlPlane says, as post-objects.ts wants it. */
function postTarget(kubeconfig: string): object {
  const config = JSON.parse(readFileSync(kubeconfig, "utf8")) as {
    clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
    users: [{ user: { token: string } }];
  };
  const { cluster } = config.clusters[0];
  return { server: cluster.server, ca64: cluster["certificate-authority-data"], token: config.users[0].user.token };
}

/** kube-proxy's configuration: defaults but for what would reach beyond its namespace. */
function configuration(peer: Peer, kubeconfig: string): string {
  return JSON.stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: peer === "nftables" ? "nftables" : "iptables",
    clientConnection: { kubeconfig },
    hostnameOverride: nodeName(peer),
    clusterCIDR: CLUSTER_CIDR,
    conntrack: { maxPerCore: 0, min: 0 },
  });
}

const nodeName = (peer: Peer): string => `bench-${peer}`;

/** The ClusterIPs of KUBE-SERVICES in the order a packet meets them. */
function dispatchOrder(iptablesSave: string): string[] {
  const pattern = /^-A KUBE-SERVICES -d ([\d.]+)\/32 .* -j KUBE-SVC-/;
  return iptablesSave.split("\n").flatMap((line) => pattern.exec(line)?.[1] ?? []);
}

export class KubeProxies {
  readonly #bed: Bed;
  readonly #plane: ControlPlane;
  readonly #binary: string;
  #created = 0;

  private constructor(bed: Bed, plane: ControlPlane, binary: string) {
    this.#bed = bed;
    this.#plane = plane;
    this.#binary = binary;
  }

  /** Starts etcd and the API server in the server's namespace, and makes the Nodes that the kube-proxies ask for. */
  static async start(bed: Bed): Promise<KubeProxies> {
    const binaries = await kubeBinaries(["kube-proxy"]);
    const place = { netns: bed.server };
    await command(["ip", "addr", "add", `${API_ADDRESS}/32`, "dev", "lo"], place);
    const plane = await ControlPlane.start({ dir: bed.folder("kube"), address: API_ADDRESS, place });
    bed.atClose(() => plane.stop());
    await plane.kubectl(["create", "namespace", NAMESPACE]);
    return new KubeProxies(bed, plane, join(binaries, "kube-proxy"));
  }

  /** Makes what is missing of these Services and their slices; a longer list each time, never a shorter one. */
  async grow(services: readonly BenchService[]): Promise<void> {
    const objects = services.slice(this.#created).flatMap((service) => [serviceObject(service), sliceObject(service)]);
    const input = this.#bed.write("objects.json", JSON.stringify(objects));
    const argv = [process.execPath, fileURLToPath(new URL("post-objects.ts", import.meta.url)), input];
    const target = postTarget(this.#plane.adminKubeconfig);
    await command(argv, { netns: this.#bed.server }, JSON.stringify(target), CREATE_TIMEOUT_MS);
    this.#created = services.length;
  }

  /** Stops the API server: the rules need it no more. */
  stop(): Promise<void> {
    return this.#plane.stop();
  }

  /** A node on which kube-proxy in this mode has programmed what the API server has. */
  async lane(peer: Peer, services: readonly BenchService[]): Promise<Lane> {
    const label = `kp-${peer}-${services.length}`;
    const node = await this.#bed.addNode(label);
    await this.#makeNode(peer, node);
    const loadSec = await this.#runOnce(peer, label, node);
    await shortConntrack(node.netns);
    const ordered = peer === "nftables" ? services : await this.#inDispatchOrder(peer, node, services);
    return { mode: peer, count: services.length, node, services: ordered, loadSec, cgroup: this.#bed.cgroup(label) };
  }

  /** The Node object that kube-proxy takes its address from. */
  async #makeNode(peer: Peer, node: BenchNode): Promise<void> {
    await this.#plane.apply({ apiVersion: "v1", kind: "Node", metadata: { name: nodeName(peer) } });
    const addresses = [{ type: "InternalIP", address: node.address }];
    await this.#plane.patchStatus(["node", nodeName(peer)], { addresses });
  }

  /** Runs kube-proxy until its first whole sync is done; gives the seconds that took. */
  async #runOnce(peer: Peer, label: string, node: BenchNode): Promise<number> {
    const config = this.#bed.write(`kube-proxy-${label}.json`, configuration(peer, this.#plane.adminKubeconfig));
    const path = `PATH=${this.#tools(peer)}:${process.env["PATH"]}`;
    const started = performance.now();
    const argv = ["env", path, this.#binary, `--config=${config}`, "-v=2"];
    const proxy = this.#bed.daemon(argv, `kube-proxy-${label}`, { netns: node.netns });
    const done = /SyncProxyRules complete" ipFamily="IPv4"/;
    await proxy.until("first sync", () => (done.test(proxy.log()) ? true : undefined), SYNC_TIMEOUT_MS);
    const seconds = (performance.now() - started) / 1000;
    // SIGKILL: what it would do on its way out is not part of this.
    await proxy.stop("SIGKILL");
    return seconds;
  }

  /** A folder for PATH in which "iptables" is the variant wanted: that is how kube-proxy finds it. */
  #tools(peer: Peer): string {
    const dir = this.#bed.folder(`tools-${peer}-${this.#created}`);
    if (peer === "nftables") return dir;
    const variant = peer === "iptables-nft" ? "nft" : "legacy";
    for (const family of ["iptables", "ip6tables"]) {
      for (const tool of ["", "-save", "-restore"]) {
        symlinkSync(`/usr/sbin/${family}-${variant}${tool}`, join(dir, `${family}${tool}`));
      }
    }
    return dir;
  }

  async #inDispatchOrder(peer: Peer, node: BenchNode, services: readonly BenchService[]): Promise<BenchService[]> {
    const saved = await command([`${peer}-save`, "-t", "nat"], { netns: node.netns }, "", 300_000);
    const byAddress = new Map(services.map((service) => [service.clusterIp, service]));
    const ordered = dispatchOrder(saved).flatMap((address) => byAddress.get(address) ?? []);
    if (ordered.length !== services.length) {
      throw new Error(`${peer}: ${ordered.length} of ${services.length} Services are in KUBE-SERVICES`);
    }
    return ordered;
  }
}
