// SPDX-License-Identifier: Apache-2.0
// Network namespaces as nodes and pods, dual stack: each pod is a namespace on a veth of its own to its node's namespace,
// which routes (what the CNI plugin ptp makes, so that kube-proxy works here as well).
// Nothing reaches the machine's own network: the node's default gateway is one more namespace, which forwards nothing.

import { readdirSync } from "node:fs";
import { command } from "./daemon.ts";

/** A namespace and its addresses, without prefix lengths. */
export interface Host {
  /** Name under /run/netns. */
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

const running = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Namespaces are named `PREFIX-PID-…`: those of test processes that no longer run are removed. */
async function removeAbandoned(prefix: string): Promise<void> {
  const names = await command(["ip", "-json", "netns", "list"]);
  for (const { name } of JSON.parse(names || "[]") as { name: string }[]) {
    const pid = new RegExp(`^${prefix}-(\\d+)-`).exec(name)?.[1];
    // Another test may be about it, too.
    if (pid && !running(Number(pid))) await command(["ip", "netns", "del", name]).catch(() => undefined);
  }
}

/** Without duplicate address detection: IPv6, its neighbour discovery too, works from the first packet on. */
async function addNamespace(netns: string): Promise<void> {
  await command(["ip", "netns", "add", netns]);
  await command(["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"], { netns });
}

/** A node: `eth0` to the outside with the default routes, a `vethN` for each pod, forwarding on. */
export class NodeNamespace implements Host {
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** The default gateway. What is sent through it vanishes without an answer; a client outside the cluster may run there. */
  readonly outside: Host;
  readonly pods: Host[] = [];
  readonly #index: number;

  private constructor(prefix: string, index: number) {
    this.netns = `${prefix}-${process.pid}-node${index}`;
    this.#index = index;
    this.ipv4 = `172.31.0.${index}`;
    this.ipv6 = `fd00:31::${index}`;
    this.outside = { netns: `${this.netns}-out`, ipv4: "172.31.0.254", ipv6: "fd00:31::fe" };
  }

  /** Makes node `index` (1 to 254). `prefix` keeps suites apart that run side by side. */
  static async create(prefix: string, index = 1): Promise<NodeNamespace> {
    await removeAbandoned(prefix);
    const node = new NodeNamespace(prefix, index);
    try {
      await node.#setUp();
    } catch (error) {
      await node.remove();
      throw error;
    }
    return node;
  }

  /** First part of its pods' addresses: `10.244.1.` and `fd00:10:244:1::`. */
  get podPrefixes(): readonly [string, string] {
    return [`10.244.${this.#index}.`, `fd00:10:244:${this.#index}::`];
  }

  async #setUp(): Promise<void> {
    for (const { netns } of [this, this.outside]) await addNamespace(netns);
    await command(
      ["ip", "-batch", "-"],
      this,
      `
      link set lo up
      link add eth0 type veth peer name eth0 netns ${this.outside.netns}
      addr add ${this.ipv4}/24 dev eth0
      addr add ${this.ipv6}/64 dev eth0
      link set eth0 up
    `,
    );
    await command(
      ["ip", "-batch", "-"],
      this.outside,
      `
      link set lo up
      addr add ${this.outside.ipv4}/24 dev eth0
      addr add ${this.outside.ipv6}/64 dev eth0
      link set eth0 up
    `,
    );
    await command(
      ["ip", "-batch", "-"],
      this,
      `
      route add default via ${this.outside.ipv4}
      route add ::/0 via ${this.outside.ipv6}
    `,
    );
    await command(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], this);
  }

  /** Makes a pod: a namespace with an `eth0`, the node being its gateway. */
  async addPod(): Promise<Host> {
    const n = this.pods.length + 1;
    const [v4, v6] = this.podPrefixes;
    const pod = { netns: `${this.netns}-pod${n}`, ipv4: `${v4}${n}`, ipv6: `${v6}${n.toString(16)}` };
    const gateway = { ipv4: `${v4}254`, ipv6: `${v6}fe` };
    await addNamespace(pod.netns);
    this.pods.push(pod);
    await command(
      ["ip", "-batch", "-"],
      this,
      `
      link add veth${n} type veth peer name eth0 netns ${pod.netns}
      addr add ${gateway.ipv4}/32 dev veth${n}
      addr add ${gateway.ipv6}/128 dev veth${n}
      link set veth${n} up
      route add ${pod.ipv4}/32 dev veth${n}
      route add ${pod.ipv6}/128 dev veth${n}
    `,
    );
    await command(
      ["ip", "-batch", "-"],
      pod,
      `
      link set lo up
      addr add ${pod.ipv4}/32 dev eth0
      addr add ${pod.ipv6}/128 dev eth0
      link set eth0 up
      route add ${gateway.ipv4}/32 dev eth0
      route add ${gateway.ipv6}/128 dev eth0
      route add default via ${gateway.ipv4}
      route add ::/0 via ${gateway.ipv6}
    `,
    );
    return pod;
  }

  /** Removes it and its pods. Processes inside must have ended. */
  async remove(): Promise<void> {
    const existing = new Set(readdirSync("/run/netns"));
    for (const { netns } of [...this.pods, this.outside, this]) {
      if (existing.has(netns)) await command(["ip", "netns", "del", netns]);
    }
  }
}
