// SPDX-License-Identifier: Apache-2.0
// Connected UDP clients in a process of their own (udp-client-process.ts), and what they have seen.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { eventually, type Place, placed } from "./daemon.ts";

/** One line of the process: a connect, an answer by somebody, or an error. */
interface Seen {
  readonly target: string;
  /** Unix milliseconds. */
  readonly at: number;
  readonly connected?: true;
  readonly by?: string;
  readonly error?: string;
}

export interface UdpTarget {
  readonly family: 4 | 6;
  readonly address: string;
  readonly port: number;
}

export class UdpClients {
  readonly targets: readonly string[];
  readonly #child: ChildProcess;
  readonly #seen: Seen[] = [];

  /** "keep": errors do not make it open a new socket. */
  constructor(place: Place, targets: readonly UdpTarget[], { keep = false } = {}) {
    this.targets = targets.map(({ family, address, port }, i) => `${family}/${address}/${port}/${i}`);
    const script = join(import.meta.dirname, "udp-client-process.ts");
    const argv = [process.execPath, script, ...(keep ? ["--keep"] : []), ...this.targets];
    const [file, ...args] = placed(argv, place);
    this.#child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
    if (this.#child.stdout === null) throw new Error("no pipe from the clients");
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#seen.push(JSON.parse(line) as Seen));
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Waits until there was a socket for every target. */
  async connected(): Promise<void> {
    const isConnected = (target: string) =>
      this.#seen.some((seen) => seen.target === target && seen.connected === true);
    await eventually("connected sockets", () => this.targets.every(isConnected) || undefined);
  }

  /** Waits until every target has been answered by one of `names` since `sinceMs`; gives when the last first was. */
  async answered(names: readonly string[], sinceMs: number, withinMs = 45_000): Promise<number> {
    const first = (target: string) =>
      this.#seen.find((seen) => seen.target === target && seen.at >= sinceMs && names.includes(seen.by ?? ""))?.at;
    return await eventually(
      `answers by ${names.join(" or ")} of ${this.targets.filter((target) => first(target) === undefined).join(", ")}`,
      () => {
        const firsts = this.targets.map(first);
        return firsts.includes(undefined) ? undefined : Math.max(...(firsts as number[]));
      },
      { withinMs, everyMs: 10 },
    );
  }

  /** Who has answered since, each once, sorted. */
  answerersSince(sinceMs: number): string[] {
    const by = this.#seen.filter(({ at }) => at >= sinceMs).map((seen) => seen.by);
    return [...new Set(by.filter((name) => name !== undefined))].sort();
  }

  /** The errors since, each once, sorted. */
  errorsSince(sinceMs: number): string[] {
    const errors = this.#seen.filter(({ at }) => at >= sinceMs).map(({ error }) => error);
    return [...new Set(errors.filter((error) => error !== undefined))].sort();
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }
}
