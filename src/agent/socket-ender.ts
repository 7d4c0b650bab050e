// SPDX-License-Identifier: Apache-2.0
// Ends sockets in this network namespace and, where the capabilities allow it, in all others of the node: by iterators,
// or by sock_diag. A socket is only ended while it is connected to the endpoint that its flow names.

import { BpfError } from "libbpf-ts";
import { type Flow, sameAddress } from "../datapath/flows.ts";
import type { SocketIterators } from "../datapath/socket-iterators.ts";
import { PROTOCOL, type Protocol } from "../model/types.ts";
import { NetlinkError } from "../node/netlink.ts";
import { NamespaceSearch } from "../node/netns.ts";
import { connectedSockets, type DiagSocket, destroySockets } from "../node/sock-diag.ts";

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

/** In one network namespace; null: this process'. */
type Act = (netns: string | null) => Promise<void>;

export class SocketEnder {
  readonly #options: EnderOptions;

  constructor(options: EnderOptions) {
    this.#options = options;
  }

  /** Ends the sockets of these flows, wherever they are. */
  async end(flows: readonly Flow[]): Promise<Ending> {
    const left = new Map(flows.map((flow) => [flow.cookie, flow]));
    const ended = new Set<bigint>();
    const walk = await this.#everywhere(
      async (netns) => {
        for (const cookie of await this.#endIn(netns, [...left.values()])) {
          ended.add(cookie);
          left.delete(cookie);
        }
      },
      () => left.size === 0,
    );
    return { ended, ...walk };
  }

  /** Own namespace, those with a name, those of processes; until it is done. A namespace that is gone is no failure. */
  async #everywhere(act: Act, isDone: () => boolean): Promise<{ everywhere: boolean; failure: string | null }> {
    if (!this.#options.able) return { everywhere: false, failure: null };
    let failure = await attempt(act, null);
    if (!this.#options.everywhere) return { everywhere: false, failure };
    const search = new NamespaceSearch();
    const visit = async (paths: readonly string[]): Promise<void> => {
      for (const path of paths) {
        if (isDone()) return;
        failure = (await attempt(act, path)) ?? failure;
      }
    };
    if (!isDone()) await visit(search.named());
    if (!isDone()) await visit(await search.ofProcesses());
    return { everywhere: failure === null && search.isComplete, failure };
  }

  async #endIn(netns: string | null, flows: readonly Flow[]): Promise<bigint[]> {
    const ended: bigint[] = [];
    for (const protocol of [PROTOCOL.UDP, PROTOCOL.TCP]) {
      const some = flows.filter((flow) => flow.protocol === protocol);
      if (some.length === 0) continue;
      const { iterators } = this.#options;
      if (iterators === null) ended.push(...(await endByDiag(protocol, netns, some)));
      else for (const part of parts(some, iterators.room)) ended.push(...(await iterators.end(part, netns)));
    }
    return ended;
  }
}

/** By exact cookie, address and ports: the kernel looks for the socket anew. */
async function endByDiag(protocol: Protocol, netns: string | null, flows: readonly Flow[]): Promise<bigint[]> {
  const byCookie = new Map(flows.map((flow) => [flow.cookie, flow]));
  const found: DiagSocket[] = [];
  for await (const socket of connectedSockets({ protocol, netns })) {
    const flow = byCookie.get(socket.cookie);
    if (flow?.backendPort === socket.peerPort && sameAddress(flow.backendAddress, socket.peer)) found.push(socket);
  }
  return destroySockets(found, { protocol, netns });
}

function* parts<T>(list: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < list.length; at += size) yield list.slice(at, at + size);
}

/** What went wrong; null if nothing did. */
async function attempt(act: Act, netns: string | null): Promise<string | null> {
  try {
    await act(netns);
    return null;
  } catch (error) {
    if (!(error instanceof BpfError) && !(error instanceof NetlinkError)) throw error;
    const gone = error instanceof BpfError && netns !== null && (error.code === "ENOENT" || error.code === "EINVAL");
    return gone ? null : `${netns ?? "own network namespace"}: ${error.message}`;
  }
}
