// SPDX-License-Identifier: Apache-2.0
// What a process in a world may be asked (actor-process.ts answers): to serve at addresses, each answer naming the
// address that was called and who called; to call somewhere again and again and say what came of it.

import { fileURLToPath } from "node:url";
import type { Place } from "./daemon.ts";
import { LineProcess } from "./line-process.ts";

export type ProtocolName = "TCP" | "UDP";

export interface Target {
  readonly address: string;
  readonly port: number;
}

export interface Listener extends Target {
  readonly protocol: ProtocolName;
}

/** How a call is made. `sendto` and `one socket` are UDP's: unconnected sockets, one a call or one for all calls. */
export type Style = "connect" | "sendto" | "one socket";

export interface Calls {
  readonly protocol: ProtocolName;
  readonly style: Style;
  /** Called in turn. */
  readonly targets: readonly Target[];
  /** Address to call from; null: the kernel's choice. */
  readonly source: string | null;
  /** How many calls at most; fewer once some have failed. */
  readonly times: number;
  /** One call after the other, in order. */
  readonly oneByOne: boolean;
  readonly timeoutMs: number;
}

export interface Tally {
  /** Answers by the "address:port" that was reached. */
  readonly answers: Readonly<Record<string, number>>;
  /** Failures by errno; "TIMEOUT": nothing came. */
  readonly errors: Readonly<Record<string, number>>;
  /** Every address the endpoints saw as the caller's. */
  readonly callers: readonly string[];
}

/** Waits until a call to the target is answered by `from`. */
export interface Arrival extends Target {
  readonly from: string;
  readonly withinMs: number;
}

export type ActorRequest =
  | { readonly op: "serve"; readonly listeners: readonly Listener[] }
  | { readonly op: "call"; readonly calls: Calls }
  | { readonly op: "arrival"; readonly arrival: Arrival };

const script = fileURLToPath(new URL("./actor-process.ts", import.meta.url));

export class Actor {
  readonly #process: LineProcess;

  constructor(name: string, place: Place) {
    this.#process = new LineProcess(name, [script], place);
  }

  /** Serves there too, from now on; what it serves already stays. */
  async serve(listeners: readonly Listener[]): Promise<void> {
    await this.#ask({ op: "serve", listeners });
  }

  call(calls: Calls): Promise<Tally> {
    return this.#ask({ op: "call", calls }) as Promise<Tally>;
  }

  async arrival(arrival: Arrival): Promise<void> {
    await this.#ask({ op: "arrival", arrival });
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  #ask(request: ActorRequest): Promise<unknown> {
    return this.#process.ask(request);
  }
}
