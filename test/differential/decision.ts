// SPDX-License-Identifier: Apache-2.0
// What becomes of a call: the question, and the answer that every proxy can be read to give.

import type { ProtocolName } from "../support/actor.ts";

export interface Call {
  /** A process of the node; a pod on it, or any other machine, whose packets come in by a device. */
  readonly from: "host" | "pod" | "elsewhere";
  readonly source: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: ProtocolName | "SCTP";
}

/** To one of these endpoints ("address:port", sorted), refused, left without an answer; or the call is none of a proxy's. */
export type Decision =
  | { readonly answer: "endpoints"; readonly endpoints: readonly string[]; readonly affinitySec: number }
  | { readonly answer: "reject" | "drop" | "nothing" };

export function decisionText(decision: Decision): string {
  if (decision.answer !== "endpoints") return decision.answer;
  const affinity = decision.affinitySec > 0 ? ` affinity ${decision.affinitySec}` : "";
  return decision.endpoints.join(",") + affinity;
}

export function callText({ from, source, address, port, protocol }: Call): string {
  return `${from} ${source} calls ${protocol} ${address.includes(":") ? `[${address}]` : address}:${port}`;
}
