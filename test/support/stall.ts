// SPDX-License-Identifier: Apache-2.0
// How long the machine kept this process and others from running: what no measurement of portolan's speed may count.

import { readFileSync } from "node:fs";

const TICK_MS = 20;

/** Milliseconds for which a process's first thread was ready to run, and did not. */
function waitedMs(pid: number): number {
  const [, ns = "0"] = readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ");
  return Number(ns) / 1e6;
}

/** Counts from its making on: this process by a timer that comes late, the others by what the scheduler says of them. */
export class Stall {
  readonly #timer: NodeJS.Timeout;
  readonly #waited = new Map<number, { readonly beforeMs: number; ms: number }>();
  #lateMs = 0;
  #lastMs = performance.now();

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** From now on this process counts, too. */
  follow(pid: number): void {
    const ms = this.#read(pid) ?? 0;
    this.#waited.set(pid, { beforeMs: ms, ms });
  }

  /** All in all, so far. */
  get ms(): number {
    this.#tick();
    let sum = this.#lateMs;
    for (const [pid, waited] of this.#waited) {
      // Of a process that has ended, what was read last.
      waited.ms = this.#read(pid) ?? waited.ms;
      sum += waited.ms - waited.beforeMs;
    }
    return sum;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    this.#lateMs += Math.max(0, now - this.#lastMs - TICK_MS);
    this.#lastMs = now;
  }

  /** Undefined: it is gone, or this kernel does not tell. */
  #read(pid: number): number | undefined {
    try {
      return waitedMs(pid);
    } catch {
      return undefined;
    }
  }
}
