// SPDX-License-Identifier: Apache-2.0
// The ground a test cluster stands on: a folder, a cgroup in every hierarchy and network namespaces, all under one name
// with this process's pid in it. By that name alone everything can be taken away again, also after a SIGKILL.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { command } from "../support/daemon.ts";

/** A cgroup mount of this machine. */
export interface Hierarchy {
  readonly type: "cgroup" | "cgroup2";
  /** As mount(8) wants them. */
  readonly options: string;
  readonly mountPoint: string;
}

/** The outside of the cluster in its switch: the nodes' default gateway, which forwards nothing. */
export const gateway = { ipv4: "172.31.0.254", ipv6: "fd00:31::fe" } as const;

const prefix = "portolan-cluster-";
const netnsFolder = "/run/netns";
const cache =
  process.env["PORTOLAN_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "portolan");

/** The cgroup mounts, each once, parents first. */
export function hierarchies(): Hierarchy[] {
  const found = new Map<string, Hierarchy>();
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [type = "", , superOptions = ""] = after.split(" ");
    const mountPoint = before.split(" ")[4] ?? "";
    if (!mountPoint.startsWith("/sys/fs/cgroup")) continue;
    if (type === "cgroup2") found.set(mountPoint, { type, options: "rw", mountPoint });
    if (type === "cgroup") found.set(mountPoint, { type, options: versionOneOptions(superOptions), mountPoint });
  }
  return [...found.values()].sort((a, b) => a.mountPoint.length - b.mountPoint.length);
}

/** Of a version 1 mount's options those that say which hierarchy it is: its controllers, or its name. */
function versionOneOptions(superOptions: string): string {
  const flags = /^(rw|ro|xattr|noprefix|clone_children|release_agent=.*)$/;
  const which = superOptions.split(",").filter((option) => !flags.test(option));
  return which.some((option) => option.startsWith("name=")) ? `none,${which.join(",")}` : which.join(",");
}

export class Bed {
  readonly name = `${prefix}${process.pid}`;
  /** On a real file system: containerd puts overlays on it. */
  readonly folder = join(cache, this.name);
  readonly logs = join(this.folder, "logs");
  readonly switch = `${this.name}-switch`;
  readonly hierarchies = hierarchies();

  /**
   * Makes the folder, the cgroups and the switch. Takes away first what runs left behind that no longer live, and tells
   * `willRemove` before anything is there to be removed.
   */
  static async make(willRemove: (bed: Bed) => void): Promise<Bed> {
    removeAbandoned();
    const bed = new Bed();
    willRemove(bed);
    mkdirSync(bed.logs, { recursive: true, mode: 0o700 });
    for (const hierarchy of bed.hierarchies) makeParent(hierarchy, join(hierarchy.mountPoint, bed.name));
    await addNetns(bed.switch);
    await ip(bed.switch, [
      "link set lo up",
      "link add br0 type bridge",
      `addr add ${gateway.ipv4}/24 dev br0`,
      `addr add ${gateway.ipv6}/64 dev br0`,
      "link set br0 up",
    ]);
    return bed;
  }

  /** The cgroup of the node `node` in every hierarchy; makes them. */
  makeCgroups(node: string): string[] {
    const cgroups = this.hierarchies.map(({ mountPoint }) => join(mountPoint, this.name, node));
    for (const cgroup of cgroups) mkdirSync(cgroup);
    return cgroups;
  }

  /** Takes a process out of its node's cgroup2, whose root must be empty for its controllers to be handed down. */
  setApart(pid: number): void {
    const cgroup = join(this.#cgroup2, "apart");
    mkdirSync(cgroup, { recursive: true });
    writeFileSync(join(cgroup, "cgroup.procs"), String(pid));
  }

  get #cgroup2(): string {
    const unified = this.hierarchies.find(({ type }) => type === "cgroup2");
    if (!unified) throw new Error("no cgroup2 is mounted below /sys/fs/cgroup");
    return join(unified.mountPoint, this.name);
  }
}

/** Lets a cgroup's children have what the machine's root has. */
function makeParent({ type }: Hierarchy, cgroup: string): void {
  const root = dirname(cgroup);
  mkdirSync(cgroup);
  if (type === "cgroup2") {
    const controllers = readFileSync(join(root, "cgroup.controllers"), "utf8").trim().split(" ").filter(Boolean);
    for (const parent of [root, cgroup]) {
      for (const controller of controllers) writeFileSync(join(parent, "cgroup.subtree_control"), `+${controller}`);
    }
  } else if (existsSync(join(cgroup, "cpuset.cpus"))) {
    // Nothing may enter a cpuset before it has processors and memory.
    for (const file of ["cpuset.cpus", "cpuset.mems"])
      writeFileSync(join(cgroup, file), readFileSync(join(root, file)));
    writeFileSync(join(cgroup, "cgroup.clone_children"), "1");
  }
}

/** Makes a network namespace in which IPv6 works from the first packet on. */
export async function addNetns(netns: string): Promise<void> {
  await command(["ip", "netns", "add", netns]);
  await command(["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"], { netns });
}

/** Runs ip(8) commands in a network namespace. */
export async function ip(netns: string, commands: readonly string[]): Promise<void> {
  await command(["ip", "-batch", "-"], { netns }, `${commands.join("\n")}\n`);
}

/**
 * Takes everything of that name away, every process in its cgroups first. At once, without giving way to anything else
 * in this process, so that nothing is made meanwhile. What is not there is no error.
 */
export function removeBed(name: string): void {
  const cgroups = hierarchies().map((hierarchy) => ({ ...hierarchy, path: join(hierarchy.mountPoint, name) }));
  const unified = cgroups.find(({ type, path }) => type === "cgroup2" && existsSync(path))?.path;
  if (unified) endProcesses(unified);
  for (const { path } of cgroups) removeCgroups(path);
  for (const netns of existsSync(netnsFolder) ? readdirSync(netnsFolder) : []) {
    if (netns.startsWith(`${name}-`)) execFileSync("ip", ["netns", "del", netns]);
  }
  rmSync(join(cache, name), { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

function endProcesses(cgroup: string): void {
  writeFileSync(join(cgroup, "cgroup.kill"), "1");
  waitFor(`the end of every process in ${cgroup}`, () => {
    return /^populated 0$/m.test(readFileSync(join(cgroup, "cgroup.events"), "utf8"));
  });
}

function removeCgroups(cgroup: string): void {
  if (!existsSync(cgroup)) return;
  for (const entry of readdirSync(cgroup, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroups(join(cgroup, entry.name));
  }
  waitFor(`the removal of ${cgroup}`, () => {
    try {
      rmdirSync(cgroup);
      return true;
    } catch {
      return false;
    }
  });
}

function waitFor(what: string, done: () => boolean): void {
  const deadline = performance.now() + 120_000;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`not within 120 s: ${what}`);
    Atomics.wait(pause, 0, 0, 50);
  }
}

function removeAbandoned(): void {
  const folders = [cache, netnsFolder, ...hierarchies().map(({ mountPoint }) => mountPoint)].filter(existsSync);
  const pids = folders
    .flatMap((folder) => readdirSync(folder))
    .map((entry) => new RegExp(`^${prefix}(\\d+)`).exec(entry)?.[1]);
  for (const pid of new Set(pids)) if (pid && !existsSync(`/proc/${pid}`)) removeBed(`${prefix}${pid}`);
}
