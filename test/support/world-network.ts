// SPDX-License-Identifier: Apache-2.0
// The network of a world (world.ts): its namespaces, their devices, addresses and routes; and the bridge over which worlds
// reach an API server.

import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { isIPv6 } from "node:net";
import { dirname, join } from "node:path";
import { findCgroup } from "../../src/node/cgroup.ts";
import { command } from "./daemon.ts";

/** Addresses of every world: worlds never meet. IPv4 first. */
export const NODE_ADDRESSES = ["192.0.2.10", "fd00:192:0:2::10"] as const;
/** Further addresses of the node, on another device; not those the Node object names. */
export const SECOND_ADDRESSES = ["192.0.2.11", "fd00:192:0:2::11"] as const;
export const POD_ADDRESSES = ["10.244.1.99", "fd00:10:244:1::99"] as const;
export const POD_RANGES = ["10.244.0.0/16", "fd00:10:244::/48"] as const;
/** Of the network between worlds and API server. */
const API_PREFIX = "172.30.0.";
export const API_ADDRESS = `${API_PREFIX}1`;

/** Names under /run/netns. */
export interface WorldNamespaces {
  readonly node: string;
  readonly pod: string;
  /** All endpoints. */
  readonly far: string;
  /** Behind the default route. */
  readonly outside: string;
}

/** A world's place on the bridge that apiNetwork() made. */
export interface ApiSeat {
  readonly netns: string;
  /** 2 to 254. */
  readonly number: number;
}

/** Without duplicate address detection, so that IPv6 works from the first packet on. */
async function addNamespace(netns: string, undo: AsyncDisposableStack): Promise<void> {
  await command(["ip", "netns", "add", netns]);
  undo.defer(async () => {
    await command(["ip", "netns", "del", netns]);
  });
  const off = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"];
  await command(["sysctl", "-qw", ...off, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"], {
    netns,
  });
  await command(["ip", "link", "set", "lo", "up"], { netns });
}

const ip = (netns: string, batch: string): Promise<string> => command(["ip", "-batch", "-"], { netns }, batch);

/** Makes a namespace with a bridge, on which the API server listens at API_ADDRESS and which worlds join. */
export async function apiNetwork(netns: string, undo: AsyncDisposableStack): Promise<void> {
  await addNamespace(netns, undo);
  await ip(
    netns,
    `
    link add br0 type bridge forward_delay 0
    addr add ${API_ADDRESS}/24 dev br0
    link set br0 up
  `,
  );
}

/** Makes a world's namespaces and what connects them. */
export async function connectWorld(namespaces: WorldNamespaces, undo: AsyncDisposableStack): Promise<void> {
  const { node, outside, pod, far } = namespaces;
  for (const netns of [node, outside, pod, far]) await addNamespace(netns, undo);
  // Every refusal is to be heard: ICMP errors are limited to one a second for each address otherwise.
  const unlimited = ["net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"];
  const forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
  await command(["sysctl", "-qw", ...forwarding, ...unlimited], { netns: node });
  await connectOutside(namespaces);
  await connectPod(namespaces);
  await connectEndpoints(namespaces);
}

/** The namespace behind the default route forwards nothing and says nothing. */
async function connectOutside({ node, outside }: WorldNamespaces): Promise<void> {
  await ip(
    node,
    `
    link add eth0 type veth peer name eth0 netns ${outside}
    link add dev1 type bridge forward_delay 0
    link add extra type bridge forward_delay 0
    addr add 172.31.0.1/30 dev eth0
    addr add fd00:31::1/126 dev eth0
    addr add ${NODE_ADDRESSES[0]}/32 dev eth0
    addr add ${NODE_ADDRESSES[1]}/128 dev eth0
    addr add ${SECOND_ADDRESSES[0]}/32 dev dev1
    addr add ${SECOND_ADDRESSES[1]}/128 dev dev1
    link set eth0 up
    link set dev1 up
    link set extra up
  `,
  );
  await ip(outside, "addr add 172.31.0.2/30 dev eth0\naddr add fd00:31::2/126 dev eth0\nlink set eth0 up\n");
  await ip(
    node,
    `
    route add default via 172.31.0.2 src ${NODE_ADDRESSES[0]}
    route add ::/0 via fd00:31::2 src ${NODE_ADDRESSES[1]}
  `,
  );
}

/** As the CNI plugin ptp does it: a veth pair and host routes. */
async function connectPod({ node, pod }: WorldNamespaces): Promise<void> {
  const [v4, v6] = POD_ADDRESSES;
  await ip(
    node,
    `
    link add vethpod type veth peer name eth0 netns ${pod}
    addr add 10.244.1.254/32 dev vethpod
    addr add fd00:10:244:1::fe/128 dev vethpod
    link set vethpod up
    route add ${v4}/32 dev vethpod src ${NODE_ADDRESSES[0]}
    route add ${v6}/128 dev vethpod src ${NODE_ADDRESSES[1]}
  `,
  );
  await ip(
    pod,
    `
    addr add ${v4}/32 dev eth0
    addr add ${v6}/128 dev eth0
    link set eth0 up
    route add 10.244.1.254/32 dev eth0
    route add fd00:10:244:1::fe/128 dev eth0
    route add default via 10.244.1.254
    route add ::/0 via fd00:10:244:1::fe
  `,
  );
}

/** Every pod address but the calling pod's own is an address of that namespace. */
async function connectEndpoints({ node, far }: WorldNamespaces): Promise<void> {
  await ip(
    node,
    `
    link add vethfar type veth peer name eth0 netns ${far}
    addr add 172.31.0.5/30 dev vethfar
    addr add fd00:31::5/126 dev vethfar
    link set vethfar up
  `,
  );
  await ip(far, "addr add 172.31.0.6/30 dev eth0\naddr add fd00:31::6/126 dev eth0\nlink set eth0 up\n");
  await command(["sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"], { netns: far });
  await ip(
    far,
    `
    route add default via 172.31.0.5
    route add ::/0 via fd00:31::5
    route add ${POD_ADDRESSES[0]}/32 via 172.31.0.5 table local
    route add ${POD_ADDRESSES[1]}/128 via fd00:31::5 table local
  `,
  );
  for (const range of POD_RANGES) await addEndpointRoute({ node, far }, range);
}

/** Has packets to these addresses go to the endpoints' namespace, and be taken there. */
export async function addEndpointRoute(
  { node, far }: Pick<WorldNamespaces, "node" | "far">,
  range: string,
): Promise<void> {
  const family = range.includes(":") ? 6 : 4;
  const [via, src] = family === 6 ? ["fd00:31::6", NODE_ADDRESSES[1]] : ["172.31.0.6", NODE_ADDRESSES[0]];
  await ip(node, `route add ${range} via ${via} src ${src}\n`);
  await ip(far, `route add local ${range} dev lo\n`);
}

export async function removeEndpointRoute({ node, far }: WorldNamespaces, range: string): Promise<void> {
  await ip(node, `route del ${range}\n`);
  await ip(far, `route del local ${range} dev lo\n`);
}

/** Has a device of the node lose and gain addresses. */
export async function changeAddresses(node: string, gone: readonly string[], come: readonly string[]): Promise<void> {
  const line = (verb: string) => (address: string) => `addr ${verb} ${hostPrefix(address)} dev extra\n`;
  if (gone.length + come.length === 0) return;
  await ip(node, [...gone.map(line("del")), ...come.map(line("add"))].join(""));
}

export async function joinApi(node: string, { netns, number }: ApiSeat): Promise<void> {
  await ip(node, `link add api0 type veth peer name api${number} netns ${netns}\n`);
  await ip(node, `addr add ${API_PREFIX}${number}/24 dev api0\nlink set api0 up\n`);
  await ip(netns, `link set api${number} master br0\nlink set api${number} up\n`);
}

export const hostPrefix = (address: string): string => `${address}/${isIPv6(address) ? 128 : 32}`;

/** In POD_RANGES, written as manifests write it: both ranges end at a full group. */
export function isPodAddress(address: string): boolean {
  return POD_RANGES.some((range) =>
    address.startsWith(range.replace(/(\.0)+\/.*$|::\/.*$/, isIPv6(address) ? ":" : ".")),
  );
}

/** Removes what test processes named `PREFIX-PID-…` that no longer run have left: namespaces, cgroups, bpffs mounts. */
export async function removeAbandoned(prefix: string): Promise<void> {
  const abandoned = (name: string): boolean => {
    const pid = new RegExp(`^${prefix}-(\\d+)-`).exec(name)?.[1];
    return pid !== undefined && !running(Number(pid));
  };
  const cgroups = findCgroup()?.dir ?? "";
  const namespaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  for (const name of namespaces.filter(abandoned)) await command(["ip", "netns", "del", name]);
  for (const name of readdirSync(cgroups).filter(abandoned)) {
    const directories = ["system", "kubepods", ""].map((directory) => join(cgroups, name, directory));
    for (const directory of directories.filter((one) => existsSync(one))) rmdirSync(directory);
  }
  for (const [source = "", target = ""] of readFileSync("/proc/self/mounts", "utf8").split("\n").map(words)) {
    if (!abandoned(source)) continue;
    await command(["umount", target]);
    rmSync(dirname(target), { recursive: true });
  }
}

const words = (line: string): string[] => line.split(" ");

function running(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
