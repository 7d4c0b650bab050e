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
import { BpfError, BpfLink, sys } from "libbpf-ts";
import { AgentRunning, Refusal } from "./refusal.ts";

const SCHEMA = 1;
/** Sub-directories of a version; `-new` and `-old` are maps on their way in and out (programs.ts). */
const KINDS = ["maps", "links", "progs"] as const;
const STAGES = ["maps-new", "maps-old"] as const; // bpffs takes no dots in names

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

/** What forbids using the pin directory as it is; empty if nothing, or if it does not exist. Changes nothing. */
export function pinProblems(paths: PinPaths): string[] {
  if (!existsSync(paths.root)) return [];
  const problems = foreignEntries(paths.root, isVersion);
  const newer = readdirSync(paths.root).filter((name) => isVersion(name) && Number(name.slice(1)) > SCHEMA);
  for (const name of newer) {
    problems.push(
      `${join(paths.root, name)} belongs to a newer portolan, and is left serving: run that release, or remove it with its own "portolan cleanup"`,
    );
  }
  if (!existsSync(paths.version)) return problems;
  problems.push(...foreignEntries(paths.version, (name) => [...KINDS, ...STAGES].some((kind) => kind === name)));
  for (const kind of [...KINDS, ...STAGES]) {
    const dir = join(paths.version, kind);
    if (existsSync(dir)) problems.push(...foreignEntries(dir, (name) => /^pt_\w+(-new)?$/.test(name)));
  }
  return problems;
}

const isVersion = (name: string): boolean => /^v[1-9]\d*$/.test(name);

/** Of a directory: itself or entries owned by somebody else, and entries whose names are not ours. */
function foreignEntries(dir: string, isOurs: (name: string) => boolean): string[] {
  const owner = process.geteuid?.() ?? 0;
  const problems = ownerProblem(dir, owner);
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (!isOurs(name)) problems.push(`${path} is not portolan's: remove it, or name another bpffs (--bpffs)`);
    else problems.push(...ownerProblem(path, owner));
  }
  return problems;
}

function ownerProblem(path: string, owner: number): string[] {
  const { uid } = lstatSync(path);
  return uid === owner ? [] : [`${path} belongs to uid ${uid}, not to uid ${owner}: it is not adopted; remove it`];
}

/** The pin directory, made and locked by this process until it is closed or dies. */
export class PinDirectory implements Disposable {
  readonly paths: PinPaths;
  #lock: number | null;
  #made: string[] = [];

  /** Throws Refusal for a foreign or newer directory, AgentRunning if another agent holds it. */
  constructor(bpffs: string) {
    this.paths = pinPaths(bpffs);
    const problems = pinProblems(this.paths);
    if (problems.length > 0) throw new Refusal(problems);
    this.#make(this.paths.root);
    this.#lock = lockDirectory(this.paths.root);
    // Under the lock nobody else makes or removes anything here.
    chmodSync(this.paths.root, 0o700);
    for (const dir of [this.paths.version, this.paths.links, this.paths.progs]) this.#make(dir);
  }

  #make(dir: string): void {
    if (existsSync(dir)) return;
    mkdirSync(dir, { mode: 0o700 });
    this.#made.unshift(dir);
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
export function lockHolderIn(locks: string, dev: number, ino: number): number | null {
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
  if (!existsSync(paths.root)) return { removed, left };
  const lock = lockDirectory(paths.root);
  try {
    if (existsSync(paths.links)) detachAll(paths.links);
    for (const kind of ["links", "progs", "maps", ...STAGES]) {
      removeEntries(join(paths.version, kind), (name) => name.startsWith("pt_"), removed);
    }
    for (const dir of [paths.version, paths.root]) {
      if (existsSync(dir) && readdirSync(dir).length > 0) left.push(...readdirSync(dir).map((name) => join(dir, name)));
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
  if (!existsSync(dir)) return;
  for (const name of readdirSync(dir).filter(isOurs)) {
    unlinkSync(join(dir, name));
    removed.push(join(dir, name));
  }
  if (readdirSync(dir).length > 0) return;
  rmdirSync(dir);
  removed.push(dir);
}
