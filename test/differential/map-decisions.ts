// SPDX-License-Identifier: Apache-2.0
// What portolan's programs make of a call, by the maps as they lie in the kernel: the same walk as bpf/lb.h and
// bpf/sock-source.h, of a socket that is bound to the caller's address, or of a packet from elsewhere.

import { parseExtentWord } from "../../src/datapath/extent.ts";
import { ALGORITHM, FRONTEND, NODE_ADDR } from "../../src/datapath/layout.ts";
import type { FrontendRow, MapPort } from "../../src/datapath/port.ts";
import { formatAddress } from "../../src/model/address.ts";
import { PROTOCOL } from "../../src/model/types.ts";
import { prefixText } from "../../src/program/source-ranges.ts";
import { endpointText } from "../support/map-lines.ts";
import { addressInRange } from "../support/plain-ranges.ts";
import { place } from "../support/scenario.ts";
import type { Call, Decision } from "./decision.ts";

export class MapDecisions {
  readonly #port: MapPort;
  readonly #rows: ReadonlyMap<string, FrontendRow>;
  readonly #nodePortAddresses: ReadonlySet<string>;
  readonly #ranges: ReadonlyMap<number, readonly string[]>;

  /** Reads rows now, and services, slots and backends when it is asked: nothing may write meanwhile. */
  constructor(port: MapPort) {
    this.#port = port;
    this.#rows = new Map(
      [...port.frontends()].map((row) => [keyOf(row.protocol, formatAddress(row.address), row.port), row]),
    );
    const answering = [...port.nodeAddresses()].filter(([, flags]) => (flags & NODE_ADDR.NODE_PORT) !== 0);
    this.#nodePortAddresses = new Set(answering.map(([address]) => formatAddress(address)));
    const ranges = Map.groupBy(port.sourceRanges(), ({ serviceId }) => serviceId);
    this.#ranges = new Map([...ranges].map(([id, list]) => [id, list.map(prefixText)]));
  }

  decide(call: Call): Decision {
    const row = this.#find(call);
    if (row === undefined) return { answer: "nothing" };
    if ((row.flags & FRONTEND.ANY_PORT) !== 0) return { answer: "reject" };
    if (!this.#admits(row, call.source)) return { answer: "drop" };
    return this.#choose(row, call.from === "elsewhere");
  }

  /** Whether a socket that is not bound may call, by who has it; undefined: nobody is asked. */
  admitsUnbound(call: Call): boolean | undefined {
    const flags = this.#find(call)?.flags ?? 0;
    if ((flags & FRONTEND.SOURCE_RANGES) === 0) return undefined;
    return (flags & (call.from === "host" ? FRONTEND.ALLOW_HOST : FRONTEND.ALLOW_PODS)) !== 0;
  }

  #find({ address, port, protocol }: Call): FrontendRow | undefined {
    const row = this.#rows.get(keyOf(PROTOCOL[protocol], address, port));
    if (row !== undefined) return row;
    if (this.#nodePortAddresses.has(address)) {
      return this.#rows.get(keyOf(PROTOCOL[protocol], address.includes(":") ? "::" : "0.0.0.0", port));
    }
    return this.#rows.get(keyOf(0, address, 0));
  }

  #admits({ flags, serviceId }: FrontendRow, source: string): boolean {
    if ((flags & FRONTEND.SOURCE_RANGES) === 0) return true;
    return (this.#ranges.get(serviceId) ?? []).some((range) => addressInRange(source, range));
  }

  #choose({ flags, serviceId }: FrontendRow, isOutside: boolean): Decision {
    const policy = FRONTEND.INTERNAL_LOCAL | (isOutside ? FRONTEND.EXTERNAL_LOCAL : 0);
    const { cluster, local, affinitySec } = this.#port.service(serviceId);
    const { base, count, algorithm } = parseExtentWord((flags & policy) === 0 ? cluster : local);
    if (count === 0) return { answer: algorithm === ALGORITHM.DROP ? "drop" : "reject" };
    const endpoints = Array.from(this.#port.slots(base, count), (id) => endpointText(this.#port, id));
    return { answer: "endpoints", endpoints: endpoints.sort(), affinitySec };
  }
}

const keyOf = (protocol: number, address: string, port: number): string => `${protocol} ${place(address, port)}`;
