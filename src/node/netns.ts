// SPDX-License-Identifier: Apache-2.0
// The network namespaces of this node besides our own, by paths through which they can be entered.

import { readdirSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";

/** Where CNI plugins, ip(8) and Docker keep a name for each. */
const NAMED = ["/run/netns", "/run/docker/netns"];

/** Processes looked at in one turn of the event loop. */
const SLICE = 64;

/** Of the machine's first PID namespace (PROC_PID_INIT_INO): whoever lives there sees every process. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";

/** More than any node has, unless somebody makes them to keep us busy. */
const MOST = 4_096;

export const seesEveryProcess = (): boolean => readlinkSync("/proc/self/ns/pid") === FIRST_PID_NAMESPACE;

export class NamespaceSearch {
  readonly #known: Set<number>;
  readonly #most: number;
  #unreadable = 0;
  #passedOver = false;

  constructor(most = MOST) {
    this.#known = new Set([statSync("/proc/self/ns/net").ino]);
    this.#most = most;
  }

  /**
   * Whether nothing can have been missed, once both kinds have been asked for. Of other users' processes it takes
   * CAP_SYS_PTRACE to tell the namespace, and the host's PID namespace to see them at all.
   */
  get isComplete(): boolean {
    return this.#unreadable === 0 && !this.#passedOver && seesEveryProcess();
  }

  /** Those that have a name: every pod's, where /run/netns is the node's own. None is given twice by one search. */
  named(): string[] {
    const device = statSync("/proc/self/ns/net").dev;
    return NAMED.flatMap((dir) => list(dir).map((name) => join(dir, name))).filter((path) => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found !== undefined && found.dev === device && this.#isNew(found.ino);
    });
  }

  /** Those of running processes. */
  async ofProcesses(): Promise<string[]> {
    const paths: string[] = [];
    const pids = list("/proc").filter((name) => /^\d+$/.test(name));
    for (const [i, pid] of pids.entries()) {
      if (i % SLICE === SLICE - 1) await setImmediate();
      const path = `/proc/${pid}/ns/net`;
      const inode = this.#inodeBehind(path);
      if (inode !== null && this.#isNew(inode)) paths.push(path);
    }
    return paths;
  }

  /** Of "net:[4026531840]". A process that has ended meanwhile has none. */
  #inodeBehind(path: string): number | null {
    try {
      return Number(readlinkSync(path).slice("net:[".length, -1));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES" || code === "EPERM") this.#unreadable++;
      return null;
    }
  }

  #isNew(inode: number): boolean {
    if (this.#known.has(inode)) return false;
    this.#passedOver ||= this.#known.size > this.#most;
    if (this.#passedOver) return false;
    this.#known.add(inode);
    return true;
  }
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
