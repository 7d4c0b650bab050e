// SPDX-License-Identifier: Apache-2.0
// Which cgroup2 directory covers every process of the node, and whether the one found really does.

import { readFileSync, statSync } from "node:fs";

const CGROUP_ROOT_INODE = 1;

export interface Cgroup2Mount {
  /** The mount's directory, as this process sees it. */
  readonly dir: string;
  /** What of the hierarchy is mounted, relative to this process' cgroup namespace: "/", "/../..", "/kubepods". */
  readonly root: string;
}

export interface CgroupChoice {
  readonly dir: string;
  /** All processes of the node are below `dir`, as far as can be told. */
  readonly wholeNode: boolean;
  /** How that was told, for people. */
  readonly why: string;
}

/** The cgroup2 mounts of a mountinfo text, in its order. Octal escapes of the paths are undone. */
export function cgroup2Mounts(mountinfo: string): Cgroup2Mount[] {
  return mountinfo.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", dir = ""] = before.split(" ");
    return after.startsWith("cgroup2 ") ? [{ dir: plainPath(dir), root: plainPath(root) }] : [];
  });
}

const plainPath = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/**
 * The best cgroup2 mount: the true root (inode 1), else one that reaches above our own cgroup namespace (a node's tree
 * mounted into a container), else our namespace's root. Null: there is none.
 */
export function findCgroup(): CgroupChoice | null {
  const choices = cgroup2Mounts(readFileSync("/proc/self/mountinfo", "utf8")).map(judge);
  return choices.find(({ wholeNode }) => wholeNode) ?? choices[0] ?? null;
}

/** Judges a directory somebody named: any directory will do, what it covers is said. */
export function judgeCgroup(dir: string): CgroupChoice {
  const mounts = cgroup2Mounts(readFileSync("/proc/self/mountinfo", "utf8"));
  const mount = mounts.find((candidate) => candidate.dir === dir);
  if (mount) return judge(mount);
  return { dir, wholeNode: false, why: `only processes below ${dir} are served` };
}

function judge({ dir, root }: Cgroup2Mount): CgroupChoice {
  if (inode(dir) === CGROUP_ROOT_INODE) return { dir, wholeNode: true, why: "the root of the machine's cgroup2 tree" };
  if (root === "/.." || root.startsWith("/../")) {
    return { dir, wholeNode: true, why: "the root of a cgroup2 tree mounted from outside this container" };
  }
  if (root === "/" && coversInit()) {
    return { dir, wholeNode: true, why: "the root of this cgroup namespace, in which PID 1 lives" };
  }
  return { dir, wholeNode: false, why: `only processes below ${dir} (${root} of its tree) are served` };
}

function inode(dir: string): number {
  try {
    return statSync(dir).ino;
  } catch {
    return 0;
  }
}

/**
 * PID 1 is in the tree that our cgroup namespace shows: its path does not lead out of it. PID 1 being ourselves means
 * that this is a container of our own, not the node. (Namespace links of PID 1 could only be read with CAP_SYS_PTRACE.)
 */
function coversInit(): boolean {
  return process.pid !== 1 && isInside(readFileSync("/proc/1/cgroup", "utf8"));
}

/** Of a /proc/PID/cgroup text: the cgroup2 path lies below the reader's namespace root. */
export function isInside(cgroups: string): boolean {
  const path = /^0::(.*)$/m.exec(cgroups)?.[1] ?? "/..";
  return path !== "/.." && !path.startsWith("/../");
}
