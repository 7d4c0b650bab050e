// SPDX-License-Identifier: Apache-2.0
// A node as a proxy sees it, out of network namespaces: the node with its addresses, a pod on it that calls, and all
// endpoints there are, of this node and of others, in one namespace behind a router's hop. What is addressed to nobody
// leaves by the default route and is never answered: silence can be told from a refusal.

import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { findCgroup } from "../../src/node/cgroup.ts";
import { Actor, type Listener } from "./actor.ts";
import { command, eventually } from "./daemon.ts";

/** Addresses of every world: worlds never meet. IPv4 first. */
export const NODE_ADDRESSES = ["192.0.2.10", "fd00:192:0:2::10"] as const;
/** Further addresses of the node, on another device; not those the Node object names. */
export const SECOND_ADDRESSES = ["192.0.2.11", "fd00:192:0:2::11"] as const;
export const POD_ADDRESSES = ["10.244.1.99", "fd00:10:244:1::99"] as const;
export const POD_RANGES = ["10.244.0.0/16", "fd00:10:244::/48"] as const;
/** Of the network between worlds and API server. */
const API_PREFIX = "172.30.0.";
export const API_ADDRESS = `${API_PREFIX}1`;

export interface WorldOptions {
  /** Keeps suites apart that run side by side; the process id is added. */
  readonly prefix: string;
  readonly name: string;
  /** Namespace with the bridge that apiNetwork() made, and this world's number there (2 to 254). */
  readonly api?: { readonly netns: string; readonly number: number };
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

async function makeCgroup(directory: string, undo: AsyncDisposableStack): Promise<void> {
  mkdirSync(directory);
  // A process that has just ended keeps its cgroup busy for a moment.
  undo.defer(async () => {
    await eventually(`rmdir ${directory}`, () => {
      rmdirSync(directory);
      return true;
    });
  });
}

export class World {
  readonly name: string;
  /** The node's namespace. */
  readonly netns: string;
  /** Its cgroup; `system` below it holds processes of the node, `kubepods` the pod. */
  readonly cgroup: string;
  readonly #undo = new AsyncDisposableStack();
  #routed: ReadonlySet<string> = new Set();
  #deviceAddresses: readonly string[] = [];
  #host: Actor | undefined;
  #pod: Actor | undefined;
  #endpoints: Actor | undefined;

  private constructor({ prefix, name }: WorldOptions) {
    this.name = name;
    this.netns = `${prefix}-${process.pid}-${name}`;
    this.cgroup = join(findCgroup()?.dir ?? "", this.netns);
  }

  static async create(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.#setUp();
      if (options.api) await world.#joinApi(options.api);
      return world;
    } catch (error) {
      await world.remove();
      throw error;
    }
  }

  /** A process of the node. */
  get host(): Actor {
    return made(this.#host);
  }

  /** A process in a pod of this node. */
  get pod(): Actor {
    return made(this.#pod);
  }

  /** Where a process of the node is started. */
  get place(): { readonly netns: string; readonly cgroup: string } {
    return { netns: this.netns, cgroup: join(this.cgroup, "system") };
  }

  /** Something to be undone before what the world stands on. */
  atEnd(undo: () => Promise<unknown>): void {
    this.#undo.defer(async () => {
      await undo();
    });
  }

  async #setUp(): Promise<void> {
    const [outside, pod, far] = [`${this.netns}-out`, `${this.netns}-pod`, `${this.netns}-far`];
    for (const directory of ["", "system", "kubepods"]) await makeCgroup(join(this.cgroup, directory), this.#undo);
    for (const netns of [this.netns, outside, pod, far]) await addNamespace(netns, this.#undo);
    // Every refusal is to be heard: ICMP errors are limited to one a second for each address otherwise.
    const unlimited = ["net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"];
    const forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    await command(["sysctl", "-qw", ...forwarding, ...unlimited], { netns: this.netns });
    await this.#connectOutside(outside);
    await this.#connectPod(pod);
    await this.#connectEndpoints(far);
    this.#host = this.#start("host", this.netns, "system");
    this.#pod = this.#start("pod", pod, "kubepods");
    this.#endpoints = this.#start("endpoints", far, null);
  }

  #start(name: string, netns: string, cgroup: string | null): Actor {
    const place = cgroup === null ? { netns } : { netns, cgroup: join(this.cgroup, cgroup) };
    const actor = new Actor(`${this.name} ${name}`, place);
    this.#undo.defer(() => actor.stop());
    return actor;
  }

  /** The namespace behind the default route forwards nothing and says nothing. */
  async #connectOutside(outside: string): Promise<void> {
    await ip(
      this.netns,
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
      this.netns,
      `
      route add default via 172.31.0.2 src ${NODE_ADDRESSES[0]}
      route add ::/0 via fd00:31::2 src ${NODE_ADDRESSES[1]}
    `,
    );
  }

  /** As the CNI plugin ptp does it: a veth pair and host routes. */
  async #connectPod(pod: string): Promise<void> {
    const [v4, v6] = POD_ADDRESSES;
    await ip(
      this.netns,
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
  async #connectEndpoints(far: string): Promise<void> {
    await ip(
      this.netns,
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
    for (const range of POD_RANGES) await this.#routeToEndpoints(range);
  }

  async #routeToEndpoints(range: string): Promise<void> {
    const family = range.includes(":") ? 6 : 4;
    const [via, src] = family === 6 ? ["fd00:31::6", NODE_ADDRESSES[1]] : ["172.31.0.6", NODE_ADDRESSES[0]];
    await ip(this.netns, `route add ${range} via ${via} src ${src}\n`);
    await ip(`${this.netns}-far`, `route add local ${range} dev lo\n`);
  }

  async #joinApi({ netns, number }: { readonly netns: string; readonly number: number }): Promise<void> {
    await ip(this.netns, `link add api0 type veth peer name api${number} netns ${netns}\n`);
    await ip(this.netns, `addr add ${API_PREFIX}${number}/24 dev api0\nlink set api0 up\n`);
    await ip(netns, `link set api${number} master br0\nlink set api${number} up\n`);
  }

  /**
   * Gives one more device of the node these addresses, and has every listener answered where its address is: on the
   * node, in the pod, or among the endpoints. What was asked for before is no longer so.
   */
  async setAddresses(deviceAddresses: readonly string[], listeners: readonly Listener[]): Promise<void> {
    await this.#setDeviceAddresses(deviceAddresses);
    const at = Map.groupBy(listeners, ({ address }) => this.#actorAt(address));
    const far = (at.get(this.#endpoints) ?? []).map(({ address }) => address);
    await this.#setRoutes(new Set(far.filter((address) => !isPodAddress(address)).map(hostPrefix)));
    await this.serve(listeners);
  }

  /** Has these answered, too. */
  async serve(listeners: readonly Listener[]): Promise<void> {
    for (const [actor, theirs] of Map.groupBy(listeners, ({ address }) => this.#actorAt(address))) {
      await actor?.serve(theirs);
    }
  }

  #actorAt(address: string): Actor | undefined {
    const own = [...NODE_ADDRESSES, ...SECOND_ADDRESSES, ...this.#deviceAddresses];
    if (own.some((one) => one === address)) return this.#host;
    return POD_ADDRESSES.some((one) => one === address) ? this.#pod : this.#endpoints;
  }

  async #setRoutes(prefixes: ReadonlySet<string>): Promise<void> {
    for (const prefix of [...this.#routed].filter((one) => !prefixes.has(one))) {
      await ip(this.netns, `route del ${prefix}\n`);
      await ip(`${this.netns}-far`, `route del local ${prefix} dev lo\n`);
    }
    for (const prefix of [...prefixes].filter((one) => !this.#routed.has(one))) await this.#routeToEndpoints(prefix);
    this.#routed = prefixes;
  }

  async #setDeviceAddresses(addresses: readonly string[]): Promise<void> {
    const gone = this.#deviceAddresses.filter((address) => !addresses.includes(address));
    const come = addresses.filter((address) => !this.#deviceAddresses.includes(address));
    const line = (verb: string) => (address: string) => `addr ${verb} ${hostPrefix(address)} dev extra\n`;
    if (gone.length + come.length === 0) return;
    await ip(this.netns, [...gone.map(line("del")), ...come.map(line("add"))].join(""));
    this.#deviceAddresses = addresses;
  }

  async remove(): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

const hostPrefix = (address: string): string => `${address}/${isIPv6(address) ? 128 : 32}`;

/** In POD_RANGES, written as manifests write it: both ranges end at a full group. */
export function isPodAddress(address: string): boolean {
  return POD_RANGES.some((range) =>
    address.startsWith(range.replace(/(\.0)+\/.*$|::\/.*$/, isIPv6(address) ? ":" : ".")),
  );
}

function made<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("this part of the world was not made");
  return part;
}

/** Removes namespaces and cgroups `PREFIX-PID-…` of test processes that no longer run. */
export async function removeAbandoned(prefix: string): Promise<void> {
  const abandoned = (name: string): boolean => {
    const pid = new RegExp(`^${prefix}-(\\d+)-`).exec(name)?.[1];
    return pid !== undefined && !running(Number(pid));
  };
  const cgroups = findCgroup()?.dir ?? "";
  for (const name of readdirSync("/run/netns").filter(abandoned)) await command(["ip", "netns", "del", name]);
  for (const name of readdirSync(cgroups).filter(abandoned)) {
    for (const directory of ["system", "kubepods", ""]) rmdirSync(join(cgroups, name, directory));
  }
}

function running(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
