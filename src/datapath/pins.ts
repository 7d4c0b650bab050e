// SPDX-License-Identifier: Apache-2.0
// The pin directory: <bpffs>/portolan/v1/{maps,links,progs}. Whose it is, which versions are in it, and who holds its lock.

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import { BpfError, BpfLink, BpfMap, BpfProgram, sys } from "libbpf-ts";
import { MAP_NAMES } from "./maps.ts";
import { AgentRunning, Refusal } from "./refusal.ts";

const SCHEMA = 1;
type Entry = "directory" | "map" | "link" | "program";

/** Sub-directories of a version, in the order of removal; `-new` and `-old` are maps on their way in and out (programs.ts). */
const HOLDS: Readonly<Record<string, Exclude<Entry, "directory">>> = {
  links: "link",
  progs: "program",
  maps: "map",
  "maps-new": "map", // bpffs takes no dots in names
  "maps-old": "map",
};

export interface PinPaths {
  /** <bpffs>/portolan, 0700: what the agent locks. */
  readonly root: string;
  /** <bpffs>/portolan/v1 */
  readonly version: string;
  readonly maps: string;
  readonly links: string;
  readonly progs: string;
}

export function pinPaths(bpffs: string): PinPaths {
  const root = join(bpffs, "portolan");
  const version = join(root, `v${SCHEMA}`);
  return { root, version, maps: join(version, "maps"), links: join(version, "links"), progs: join(version, "progs") };
}

const NEWER =
  'belongs to a newer portolan, and is left serving: run that release, or remove it with its own "portolan cleanup"';

/** What forbids using the pin directory as it is; empty if nothing, or if it does not exist. Changes nothing. */
export function pinProblems(paths: PinPaths): string[] {
  if (!isThere(paths.root)) return [];
  const problems = entryProblems(paths.root, "directory");
  if (problems.length > 0) return problems;
  problems.push(...foreignEntries(paths.root, "directory", isVersion));
  const newer = readdirSync(paths.root).filter((name) => isVersion(name) && Number(name.slice(1)) > SCHEMA);
  for (const name of newer) {
    problems.push(`${join(paths.root, name)} ${NEWER}`);
  }
  problems.push(...foreignEntries(paths.version, "directory", (name) => name in HOLDS));
  for (const [name, what] of Object.entries(HOLDS)) {
    const isOurs = what === "map" ? isMapName : (pin: string) => /^pt_\w+(-new)?$/.test(pin);
    problems.push(...foreignEntries(join(paths.version, name), what, isOurs));
  }
  return problems;
}

const isVersion = (name: string): boolean => /^v[1-9]\d*$/.test(name);
const isMapName = (name: string): boolean => MAP_NAMES.some((known) => known === name);

/** Entries of a directory whose names are not ours, or that are not what those names say; none if it is not there. */
function foreignEntries(dir: string, wanted: Entry, isOurs: (name: string) => boolean): string[] {
  if (!isDirectory(dir)) return [];
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    if (isOurs(name)) return entryProblems(path, wanted);
    if (wanted === "map" && name.startsWith("pt_")) return [`${path} ${NEWER}`];
    return [`${path} is not portolan's: remove it, or name another bpffs (--bpffs)`];
  });
}

/** Somebody else's, or of another kind. */
function entryProblems(path: string, wanted: Entry): string[] {
  const { uid } = lstatSync(path);
  const owner = process.geteuid?.() ?? 0;
  if (uid !== owner) return [`${path} belongs to uid ${uid}, not to uid ${owner}: it is not adopted; remove it`];
  return isA(path, wanted) ? [] : [`${path} is no ${wanted}: it is not adopted; remove it`];
}

/** Who may not ask the kernel hears of it when the pin is opened for use. */
function isA(path: string, wanted: Entry): boolean {
  if (wanted === "directory" || !lstatSync(path).isFile()) return wanted === "directory" && isDirectory(path);
  try {
    OPEN[wanted](path).close();
  } catch (error) {
    return !(error instanceof BpfError) || error.code !== "EINVAL";
  }
  return true;
}

const OPEN = {
  map: (path: string) => BpfMap.open(path),
  link: (path: string) => BpfLink.open(path),
  program: (path: string) => BpfProgram.open(path),
};

/** Not by way of a symbolic link. */
const isDirectory = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** The pin directory, made and locked by this process until it is closed or dies. */
export class PinDirectory implements Disposable {
  readonly paths: PinPaths;
  #lock: number | null;
  #made: string[] = [];

  /** Throws Refusal for a foreign or newer directory, AgentRunning if another agent holds it. */
  constructor(bpffs: string) {
    this.paths = pinPaths(bpffs);
    this.#make(this.paths.root);
    this.#lock = lockDirectory(this.paths.root);
    // Looked at under the lock, when no other agent makes or removes anything here, nor a stranger the directory itself.
    const problems = pinProblems(this.paths);
    if (problems.length > 0) {
      this.undo();
      this[Symbol.dispose]();
      throw new Refusal(problems);
    }
    chmodSync(this.paths.root, 0o700);
    for (const dir of [this.paths.version, this.paths.links, this.paths.progs]) this.#make(dir);
  }

  #make(dir: string): void {
    if (existsSync(dir)) return;
    mkdirSync(dir, { mode: 0o700 });
    this.#made.unshift(dir);
  }

  /** Makes the directories that somebody removed while they were in use, and takes the lock of a new one. */
  restore(): void {
    const { root, version, maps, links, progs } = this.paths;
    if (!existsSync(root)) {
      mkdirSync(root, { mode: 0o700 });
      const lock = lockDirectory(root);
      this[Symbol.dispose]();
      this.#lock = lock;
    }
    for (const dir of [version, maps, links, progs]) if (!existsSync(dir)) mkdirSync(dir, { mode: 0o700 });
  }

  /** Removes the directories that this start made, as far as they are empty. */
  undo(): void {
    for (const dir of this.#made) if (readdirSync(dir).length === 0) rmdirSync(dir);
    this.#made = [];
  }

  [Symbol.dispose](): void {
    if (this.#lock !== null) sys.close(this.#lock);
    this.#lock = null;
  }
}

/** An open, exclusively locked file descriptor. Throws AgentRunning. */
function lockDirectory(dir: string): number {
  const fd = sys.openDir(dir);
  if (sys.flock(fd, "exclusive", { nonBlocking: true })) return fd;
  sys.close(fd);
  throw new AgentRunning(dir, lockHolder(dir));
}

/** The pid that holds a directory's lock, as /proc/locks shows it; null: nobody, or nobody visible. */
export function lockHolder(dir: string): number | null {
  if (!existsSync(dir)) return null;
  const { dev, ino } = statSync(dir);
  return lockHolderIn(readFileSync("/proc/locks", "utf8"), dev, ino);
}

/** `N: FLOCK  ADVISORY  WRITE PID MAJOR:MINOR:INODE START END`, the device in hexadecimal. */
function lockHolderIn(locks: string, dev: number, ino: number): number | null {
  for (const line of locks.split("\n")) {
    const match = /FLOCK\s+\w+\s+\w+\s+(-?\d+)\s+([0-9a-f]+):([0-9a-f]+):(\d+)/.exec(line);
    if (match === null) continue;
    const [major, minor] = [Number.parseInt(match[2] ?? "", 16), Number.parseInt(match[3] ?? "", 16)];
    const pid = Number(match[1]);
    if (deviceNumber(major, minor) === dev && Number(match[4]) === ino && pid > 0) return pid;
  }
  return null;
}

/** As the C library's makedev(), which is what stat gives; both numbers fit 32 bits here. */
const deviceNumber = (major: number, minor: number): number =>
  ((major << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12)) >>> 0;

/** What removePins() did. */
export interface Removal {
  readonly removed: readonly string[];
  /** Entries that are not portolan's, or of another version: they stay. */
  readonly left: readonly string[];
}

/**
 * Takes the programs off their hooks and removes every pin and directory of this version. Throws AgentRunning while an
 * agent holds them. Nothing there is no error.
 */
export function removePins(paths: PinPaths): Removal {
  const removed: string[] = [];
  const left: string[] = [];
  if (!isDirectory(paths.root)) return { removed, left: isThere(paths.root) ? [paths.root] : left };
  const lock = lockDirectory(paths.root);
  try {
    if (isDirectory(paths.links)) detachAll(paths.links);
    for (const kind of Object.keys(HOLDS)) {
      removeEntries(join(paths.version, kind), (name) => name.startsWith("pt_"), removed);
    }
    for (const dir of [paths.version, paths.root]) {
      if (isDirectory(dir) && readdirSync(dir).length > 0)
        left.push(...readdirSync(dir).map((name) => join(dir, name)));
      removeEntries(dir, () => false, removed);
    }
  } finally {
    sys.close(lock);
  }
  return { removed, left };
}

/** At once, and not when the last reference is dropped some time later. */
function detachAll(links: string): void {
  for (const name of readdirSync(links)) {
    try {
      using link = BpfLink.open(join(links, name));
      link.detach();
    } catch (error) {
      // No link, or of a cgroup that is gone: there is nothing to detach.
      if (!(error instanceof BpfError)) throw error;
    }
  }
}

/** Removes the entries that are ours, then the directory if it is empty. */
function removeEntries(dir: string, isOurs: (name: string) => boolean, removed: string[]): void {
  if (!isDirectory(dir)) return;
  for (const name of readdirSync(dir).filter(isOurs)) {
    const path = join(dir, name);
    if (isDirectory(path)) continue;
    unlinkSync(path);
    removed.push(path);
  }
  if (readdirSync(dir).length > 0) return;
  rmdirSync(dir);
  removed.push(dir);
}
