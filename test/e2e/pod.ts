// SPDX-License-Identifier: Apache-2.0
// A pod (or a process of the node) as a test sees it: what may be asked of the process inside (pod-process.ts).

import { fileURLToPath } from "node:url";
import type { Place } from "../support/daemon.ts";
import { LineProcess } from "../support/line-process.ts";
import type { Host } from "../support/netns.ts";

/** One TCP connection or UDP exchange. */
export interface Call {
  readonly host: string;
  readonly port: number;
  /** Default: TCP. */
  readonly protocol?: "TCP" | "UDP";
  /** UDP by connect() and send() instead of sendmsg() with an address. Default: false. */
  readonly connected?: boolean;
  /** Of the calling process's own time. Default: 5,000. */
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

/** Servers of pods listen here, TCP and UDP, both families. */
export const podPort = 8080;

const script = fileURLToPath(new URL("./pod-process.ts", import.meta.url));

export class Pod {
  readonly name: string;
  readonly host: Host;
  readonly #process: LineProcess;

  private constructor(name: string, host: Host, process: LineProcess) {
    this.name = name;
    this.host = host;
    this.#process = process;
  }

  /** Starts the process at a place and returns once it serves (`serves`: a pod; otherwise a client alone). */
  static async start(name: string, host: Host, { serves, place }: { serves: boolean; place: Place }): Promise<Pod> {
    const argv = [script, name, ...(serves ? [String(podPort)] : [])];
    const pod = new Pod(name, host, new LineProcess(name, argv, { ...place, netns: host.netns }));
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

  stop(): Promise<void> {
    return this.#process.stop();
  }

  #ask(request: Request): Promise<unknown> {
    return this.#process.ask(request);
  }
}
