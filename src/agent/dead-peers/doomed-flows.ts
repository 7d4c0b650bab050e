// SPDX-License-Identifier: Apache-2.0
// The flows of one walk over the network namespaces: which are not ended yet, and which may stay after all, since their
// endpoint has come back meanwhile. That is asked per call and endpoint, which are few, not per flow.

import type { Flow } from "../../datapath/flows.ts";
import { Turns } from "../../datapath/turns.ts";
import { formatAddress } from "../../model/address.ts";
import { PROTOCOL, type Protocol } from "../../model/types.ts";

/** Calls looked at again before each namespace: a millisecond's. With more, each has its turn. */
const LOOKS = 512;

export class DoomedFlows {
  readonly #left = new Map<bigint, Flow>();
  /** Flows of the same call and endpoint. */
  readonly #groups: Flow[][] = [];
  readonly #protocols = new Set<Protocol>();
  #next = 0;

  static async of(flows: readonly Flow[]): Promise<DoomedFlows> {
    const doomed = new DoomedFlows();
    const groups = new Map<string, Flow[]>();
    const turns = new Turns();
    for (const flow of flows) {
      if (turns.isOver()) await turns.next();
      doomed.#left.set(flow.cookie, flow);
      doomed.#protocols.add(flow.protocol);
      const key = keyOf(flow);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [flow]);
      else group.push(flow);
    }
    for (const group of groups.values()) doomed.#groups.push(group);
    return doomed;
  }

  get isEmpty(): boolean {
    return this.#left.size === 0;
  }

  /** All that were not spared, ended or not. */
  named(): Flow[] {
    return this.#groups.flat();
  }

  /** UDP first: TCP connections have timeouts of their own. */
  get protocols(): readonly Protocol[] {
    return [PROTOCOL.UDP, PROTOCOL.TCP].filter((protocol) => this.#protocols.has(protocol));
  }

  /** A flow that is left. */
  get(cookie: bigint): Flow | undefined {
    return this.#left.get(cookie);
  }

  remove(cookie: bigint): void {
    this.#left.delete(cookie);
  }

  /** Those that may stay by now are left no more, and given: all of them, also whose socket was ended before. */
  async spare(isStranded: (flow: Flow) => boolean): Promise<Flow[]> {
    const spared: Flow[] = [];
    const turns = new Turns();
    for (let looks = Math.min(LOOKS, this.#groups.length); looks > 0; looks--) {
      if (turns.isOver()) await turns.next();
      const group = this.#groups[this.#next % this.#groups.length] ?? [];
      const [first] = group;
      if (first !== undefined && !isStranded(first)) spared.push(...(await this.#take(group, turns)));
      else this.#next++;
    }
    return spared;
  }

  async #take(group: readonly Flow[], turns: Turns): Promise<readonly Flow[]> {
    const at = this.#next % this.#groups.length;
    this.#groups.splice(at, 1);
    for (const { cookie } of group) {
      if (turns.isOver()) await turns.next();
      this.#left.delete(cookie);
    }
    return group;
  }
}

const keyOf = ({ frontendAddress, frontendPort, protocol, backendAddress, backendPort }: Flow): string =>
  `${protocol}|${formatAddress(frontendAddress)}|${frontendPort}|${formatAddress(backendAddress)}|${backendPort}`;
