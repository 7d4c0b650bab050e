// SPDX-License-Identifier: Apache-2.0
// Resident memory of a process and everything it started, without BPF maps that are mapped into it: those are the
// kernel's and counted as such.

import { readdirSync, readFileSync } from "node:fs";

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};

/** The process and its descendants. */
function processTree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const stat = /^\d+$/.test(entry) ? read(`/proc/${entry}/stat`) : "";
    // The program's name stands in parentheses and may hold anything: the fields count from the last one.
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (stat) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const tree = [pid];
  for (const member of tree) tree.push(...(children.get(member) ?? []));
  return tree;
}

/** Resident bytes of one process outside mapped BPF maps. */
function residentBytes(pid: number): number {
  let kilobytes = 0;
  let isMap = false;
  for (const line of read(`/proc/${pid}/smaps`).split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isMap = line.includes("anon_inode:bpf-map");
    else if (!isMap && line.startsWith("Rss:")) kilobytes += Number.parseInt(line.slice(4), 10);
  }
  return kilobytes * 1024;
}

/** Resident bytes of a whole process tree. */
export const treeBytes = (pid: number): number =>
  processTree(pid).reduce((sum, member) => sum + residentBytes(member), 0);

/** CPU seconds that the living threads of a process tree have used, to the nanosecond: the ticks of stat are too coarse. */
export function cpuSeconds(pid: number): number {
  return processTree(pid).reduce((sum, member) => sum + threadSeconds(member), 0);
}

function threadSeconds(pid: number): number {
  const ran = readdirSync(`/proc/${pid}/task`).map((thread) => read(`/proc/${pid}/task/${thread}/schedstat`));
  return ran.reduce((sum, line) => sum + Number(line.split(" ")[0] ?? 0) / 1e9, 0);
}

/** Samples a process tree until stopped; gives the highest sum seen. */
export class PeakMemory {
  readonly #timer: NodeJS.Timeout;
  #peak = 0;

  constructor(pid: number, everyMs = 50) {
    this.#timer = setInterval(() => {
      this.#peak = Math.max(this.#peak, treeBytes(pid));
    }, everyMs);
  }

  stop(): number {
    clearInterval(this.#timer);
    return this.#peak;
  }
}
