// SPDX-License-Identifier: Apache-2.0
// Ends sockets in this network namespace and, where the capabilities allow it, in all others of the node: by iterators,
// or by sock_diag. A socket is only ended while it is connected to the endpoint that its flow names.

import { BpfError } from "libbpf-ts";
import { type Flow, sameAddress } from "../../datapath/flows.ts";
import type { SocketIterators } from "../../datapath/socket-iterators.ts";
import { Turns } from "../../datapath/turns.ts";
import type { Protocol } from "../../model/types.ts";
import { connectedSockets, type DiagSocket, destroySockets } from "../../node/sock-diag.ts";
import { DoomedFlows } from "./doomed-flows.ts";
import { type Walked, walkNamespaces } from "./namespace-walk.ts";

/** Flows of one walk by sock_diag, and sockets ended by one exchange with the kernel. */
const MOST_BY_DIAG = 65_536;
const EXCHANGE = 512;

export interface EnderOptions {
  /** Whether sockets can be ended at all. */
  readonly able: boolean;
  /** Null: sock_diag does it. */
  readonly iterators: SocketIterators | null;
  /** Whether other network namespaces may be entered. */
  readonly everywhere: boolean;
}

export interface Ending {
  readonly ended: ReadonlySet<bigint>;
  /** Every network namespace of the node was looked at: what was not ended is not connected (any more, or yet). */
  readonly everywhere: boolean;
  /** What went wrong last; null if nothing did. */
  readonly failure: string | null;
}

/** What is asked again while namespaces are walked. */
export interface SecondThoughts {
  /** Whether the flow's endpoint still does not serve. */
  readonly isStranded: (flow: Flow) => boolean;
  readonly isStopped: () => boolean;
}

export class SocketEnder {
  readonly #options: EnderOptions;

  constructor(options: EnderOptions) {
    this.#options = options;
  }

  /** Ends the sockets of these flows, wherever they are. Each cookie is there once. */
  async end(flows: readonly Flow[], thoughts: SecondThoughts): Promise<Ending> {
    const { able, iterators } = this.#options;
    const ended = new Set<bigint>();
    if (!able) return { ended, everywhere: false, failure: null };
    const room = iterators?.room ?? MOST_BY_DIAG;
    let [everywhere, failure]: [boolean, string | null] = [true, null];
    for (let at = 0; at < flows.length && !thoughts.isStopped(); at += room) {
      const doomed = await DoomedFlows.of(flows.slice(at, at + room));
      const part: Part = { doomed, ended, thoughts };
      const walked = await (iterators === null ? this.#byDiag(part) : this.#byIterators(part, iterators));
      everywhere &&= walked.everywhere;
      failure = walked.failure ?? failure;
    }
    return { ended, everywhere, failure };
  }

  async #byIterators(part: Part, iterators: SocketIterators): Promise<Walked> {
    const { doomed, thoughts } = part;
    try {
      await iterators.doom(doomed.named());
    } catch (error) {
      if (error instanceof BpfError) return { everywhere: false, failure: error.message };
      throw error;
    }
    try {
      return await this.#walk(part, async (netns) => {
        await iterators.spare(await doomed.spare(thoughts.isStranded));
        for (const protocol of doomed.protocols) await note(part, await iterators.end(protocol, netns));
      });
    } finally {
      await iterators.spare(doomed.named());
    }
  }

  #byDiag(part: Part): Promise<Walked> {
    return this.#walk(part, async (netns) => {
      for (const protocol of part.doomed.protocols) await endByDiag(part, protocol, netns);
    });
  }

  #walk({ doomed, thoughts }: Part, act: (netns: string | null) => Promise<void>): Promise<Walked> {
    const isDone = () => doomed.isEmpty || thoughts.isStopped();
    return walkNamespaces(act, { everywhere: this.#options.everywhere, isDone });
  }
}

/** What one walk is about. */
interface Part {
  readonly doomed: DoomedFlows;
  readonly ended: Set<bigint>;
  readonly thoughts: SecondThoughts;
}

/** By exact cookie, address and ports: the kernel looks for the socket anew. */
async function endByDiag(part: Part, protocol: Protocol, netns: string | null): Promise<void> {
  const found: { readonly flow: Flow; readonly socket: DiagSocket }[] = [];
  for await (const socket of connectedSockets({ protocol, netns })) {
    const flow = part.doomed.get(socket.cookie);
    if (flow?.protocol !== protocol || flow.backendPort !== socket.peerPort) continue;
    if (sameAddress(flow.backendAddress, socket.peer)) found.push({ flow, socket });
  }
  for (let at = 0; at < found.length && !part.thoughts.isStopped(); at += EXCHANGE) {
    const some = found.slice(at, at + EXCHANGE).filter(({ flow }) => part.thoughts.isStranded(flow));
    const sockets = some.map(({ socket }) => socket);
    await note(part, await destroySockets(sockets, { protocol, netns }));
  }
}

async function note({ doomed, ended }: Part, cookies: Iterable<bigint>): Promise<void> {
  const turns = new Turns();
  for (const cookie of cookies) {
    if (turns.isOver()) await turns.next();
    ended.add(cookie);
    doomed.remove(cookie);
  }
}
