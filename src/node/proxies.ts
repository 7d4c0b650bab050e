// SPDX-License-Identifier: Apache-2.0
// Other service proxies on this node: running ones, and what a deleted kube-proxy left behind. Only looks; in particular
// it never lists a legacy iptables table, which alone would load that table's hooks into the kernel.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { BpfError, BpfProgram, type CgroupAttachType, queryCgroup } from "libbpf-ts";
import { PROTOCOL } from "../model/types.ts";
import { type Listener, listeners } from "./listeners.ts";
import { attributes, dump, NetlinkError, text } from "./netlink.ts";

/** Where kube-proxy answers /healthz; whoever listens there serves as this node's proxy. */
export const PROXY_HEALTH_PORT = 10_256;

const NETLINK_NETFILTER = 12;
const NFTABLES = 10 << 8;
const GET_TABLE = NFTABLES | 1;
const GET_CHAIN = NFTABLES | 4;
const NFGENMSG_BYTES = 4;
const TABLE_NAME = 1;
const CHAIN_TABLE = 1;
const CHAIN_NAME = 3;
const FAMILY_NAMES: Record<number, string> = { 1: "inet", 2: "ip", 7: "bridge", 10: "ip6" };
/** Hooks that a service proxy at the socket cannot do without. */
const SERVICE_HOOKS: readonly CgroupAttachType[] = [
  "cgroup_inet4_connect",
  "cgroup_inet6_connect",
  "cgroup_udp4_sendmsg",
  "cgroup_udp6_sendmsg",
];

export interface RunningProxy {
  readonly pid: number;
  /** False where this process may not read the other's namespace. */
  readonly sameNetns: boolean | "unknown";
}

/** Processes that are a kube-proxy by name or by program; those known to be in another network namespace are left out. */
export function runningKubeProxies(): RunningProxy[] {
  const own = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc").flatMap((name): RunningProxy[] => {
    if (!/^\d+$/.test(name) || !isKubeProxy(name)) return [];
    const netns = attempt(() => readlinkSync(`/proc/${name}/ns/net`));
    if (netns !== null && netns !== own) return [];
    return [{ pid: Number(name), sameNetns: netns === null ? "unknown" : true }];
  });
}

function isKubeProxy(pid: string): boolean {
  const comm = attempt(() => readFileSync(`/proc/${pid}/comm`, "utf8").trim());
  if (comm === "kube-proxy") return true;
  const program = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0]);
  return basename(program ?? "") === "kube-proxy";
}

/** Null: the process is gone, or may not be looked at. */
function attempt<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null;
  }
}

/** Somebody answers on kube-proxy's health port. */
export function healthPortTaken(held: readonly Listener[] = listeners()): boolean {
  return held.some(({ protocol, port }) => protocol === PROTOCOL.TCP && port === PROXY_HEALTH_PORT);
}

export interface ForeignProgram {
  readonly id: number;
  readonly hook: string;
  /** Null without the capability to look at others' programs (CAP_SYS_ADMIN). */
  readonly name: string | null;
}

/** Programs on the service hooks of a cgroup, inherited ones too, whose ids are not in `ours`. */
export function foreignPrograms(cgroup: string, ours: ReadonlySet<number>): ForeignProgram[] {
  return SERVICE_HOOKS.flatMap((hook) =>
    queryCgroup(cgroup, hook, { effective: true })
      .programIds.filter((id) => !ours.has(id))
      .map((id) => ({ id, hook, name: programName(id) })),
  );
}

function programName(id: number): string | null {
  return attempt(() => {
    using program = BpfProgram.openById(id);
    return program.info.name;
  });
}

export interface Leftover {
  /** "ip kube-proxy": a table of nftables mode; "ip nat": a table with chains of iptables mode. */
  readonly table: string;
  readonly mode: "nftables" | "iptables";
}

/** Tables and chains of kube-proxy that are in nf_tables, which iptables-nft writes to as well. */
export function leftovers(): Leftover[] {
  const tables = nftablesDump(GET_TABLE)
    .filter(({ attributes: found }) => text(found.get(TABLE_NAME)) === "kube-proxy")
    .map(({ family }): Leftover => ({ table: `${family} kube-proxy`, mode: "nftables" }));
  const chains = nftablesDump(GET_CHAIN)
    .filter(({ attributes: found }) => text(found.get(CHAIN_NAME)) === "KUBE-SERVICES")
    .map(({ family, attributes: found }): Leftover => {
      return { table: `${family} ${text(found.get(CHAIN_TABLE))}`, mode: "iptables" };
    });
  return [...tables, ...chains];
}

/** Names of the legacy iptables tables that are loaded: what is in them is not looked at. */
export function legacyTables(): string[] {
  const names = ["ip_tables_names", "ip6_tables_names"].flatMap(
    (file) => attempt(() => readFileSync(`/proc/self/net/${file}`, "utf8").split("\n")) ?? [],
  );
  return [...new Set(names.filter(Boolean))];
}

function nftablesDump(type: number): { family: string; attributes: Map<number, Uint8Array> }[] {
  try {
    return dump(NETLINK_NETFILTER, type, new Uint8Array(NFGENMSG_BYTES)).map(({ payload }) => ({
      family: FAMILY_NAMES[payload[0] ?? 0] ?? "?",
      attributes: attributes(payload, NFGENMSG_BYTES),
    }));
  } catch (error) {
    // A kernel without nf_tables, or with its modules not loaded, has no leftovers in it.
    if (error instanceof NetlinkError) return [];
    if (error instanceof BpfError && error.code === "EPROTONOSUPPORT") return [];
    throw error;
  }
}
