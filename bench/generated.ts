// SPDX-License-Identifier: Apache-2.0
// kube-proxy's three modes without kube-proxy: rules in its shape, loaded inside a node's namespace and nowhere else.

import { command } from "../test/support/daemon.ts";
import type { Bed } from "./bed.ts";
import type { Lane, Mode } from "./lane.ts";
import { iptablesRules } from "./rules-iptables.ts";
import { nftablesRules } from "./rules-nftables.ts";
import { benchServices } from "./services.ts";

const LOAD_TIMEOUT_MS = 400_000;

/**
 * Waits for closed connections to leave netfilter's table in a second instead of ten: kind to it, and no arm depends on
 * how many connections the one before left behind.
 */
export const shortConntrack = (netns: string): Promise<string> =>
  command(["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=1"], { netns });

/** Makes a node with the rules that kube-proxy would have in this mode for this many Services. */
export async function generatedLane(bed: Bed, mode: Exclude<Mode, "portolan">, count: number): Promise<Lane> {
  const node = await bed.addNode(`${mode}-${count}`);
  const place = { netns: node.netns };
  const services = benchServices(count);
  const rules = mode === "nftables" ? nftablesRules(services, node.address) : iptablesRules(services);
  const loader = mode === "nftables" ? ["nft", "-f", "-"] : [`${mode}-restore`, "-w", "60"];
  const started = performance.now();
  await command(loader, place, rules, LOAD_TIMEOUT_MS);
  const loadSec = (performance.now() - started) / 1000;
  await shortConntrack(node.netns);
  return { mode, count, node, services, loadSec, cgroup: bed.cgroup(`${mode}-${count}`) };
}
