// SPDX-License-Identifier: Apache-2.0
// A pod (or a process of the node) as a test sees it: what may be asked of the process inside (pod-process.ts).

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Place, placed } from "../support/daemon.ts";
import type { Host } from "../support/netns.ts";

/** One TCP connection or UDP exchange. */
export interface Call {
  readonly host: string;
  readonly port: number;
  /** Default: TCP. */
  readonly protocol?: "TCP" | "UDP";
  /** UDP by connect() and send() instead of sendmsg() with an address. Default: false. */
  readonly connected?: boolean;
  /** Default: 2,000. */
  readonly timeoutMs?: number;
}

export interface Calls extends Call {
  readonly times: number;
}

/** Who answered and whom the socket says it talks to, or the errno ("TIMEOUT" when nothing came). */
export type Outcome = { readonly by: string; readonly peer: string } | { readonly error: string };

export interface Tally {
  /** Answers by the name of who answered. */
  readonly answers: Record<string, number>;
  /** Failures by errno. */
  readonly errors: Record<string, number>;
  /** Every "address:port" seen as the other side. */
  readonly peers: string[];
}

/** From the watch event to the first answer: the API server to watch, what to wait for, what to call. */
export interface Race extends Call {
  readonly server: string;
  readonly ca: string;
  readonly token: string;
  readonly namespace: string;
  /** Services and EndpointSlices that will appear in the namespace, after which the clock starts. */
  readonly objects: number;
}

export type Request =
  | { readonly op: "call"; readonly calls: Calls }
  | { readonly op: "startLoad"; readonly call: Call }
  | { readonly op: "stopLoad" }
  | { readonly op: "armRace"; readonly race: Race }
  | { readonly op: "race" };

export type Answer = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });

/** Servers of pods listen here, TCP and UDP, both families. */
export const podPort = 8080;

const script = fileURLToPath(new URL("./pod-process.ts", import.meta.url));

export class Pod {
  readonly name: string;
  readonly host: Host;
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;

  private constructor(name: string, host: Host, child: ChildProcess) {
    this.name = name;
    this.host = host;
    this.#child = child;
    child.once("exit", () => this.#fail());
    child.stdin?.on("error", () => this.#fail());
    if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => this.#settle(JSON.parse(line)));
  }

  /** Starts the process at a place and returns once it serves (`serves`: a pod; otherwise a client alone). */
  static async start(name: string, host: Host, { serves, place }: { serves: boolean; place: Place }): Promise<Pod> {
    const argv = [process.execPath, script, name, ...(serves ? [String(podPort)] : [])];
    const [file, ...args] = placed(argv, { ...place, netns: host.netns });
    const pod = new Pod(name, host, spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] }));
    await pod.call({ host: "127.0.0.1", port: podPort, times: 0 });
    return pod;
  }

  /** Calls `times` times, one after the other. */
  call(calls: Calls): Promise<Tally> {
    return this.#ask({ op: "call", calls }) as Promise<Tally>;
  }

  /** Starts calling without end, two at a time with pauses of 2 ms. */
  async startLoad(call: Call): Promise<void> {
    await this.#ask({ op: "startLoad", call });
  }

  /** Ends what startLoad began and counts it. */
  stopLoad(): Promise<Tally> {
    return this.#ask({ op: "stopLoad" }) as Promise<Tally>;
  }

  /** Arms a race; it is on once this returns, its milliseconds are race()'s. */
  async armRace(race: Race): Promise<void> {
    await this.#ask({ op: "armRace", race });
  }

  race(): Promise<number> {
    return this.#ask({ op: "race" }) as Promise<number>;
  }

  async stop(): Promise<void> {
    if (this.#ended) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }

  #ask(request: Request): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, answer);
    if (this.#ended) this.#fail();
    this.#child.stdin?.write(`${JSON.stringify({ id, request })}\n`);
    return answer.promise;
  }

  #settle(answer: Answer): void {
    const waiting = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ("error" in answer) waiting?.reject(new Error(`${this.name}: ${answer.error}`));
    else waiting?.resolve(answer.result);
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #fail(): void {
    for (const waiting of this.#pending.values()) waiting.reject(new Error(`the process of ${this.name} has ended`));
    this.#pending.clear();
  }
}
