// SPDX-License-Identifier: Apache-2.0
// Which calls to ask about: from everybody to every address that some Service names, at its ports and at others.

import { isIPv6 } from "node:net";
import type { PlainService } from "../support/reference-model.ts";
import { NODE_ADDRESSES, POD_ADDRESSES, SECOND_ADDRESSES } from "../support/world-network.ts";
import { type Call, callText } from "./decision.ts";

const ELSEWHERE = ["203.0.113.200", "2001:db8:ffff::1"] as const;
/** Pods of this node and of others: what a pod that is let in unbound may turn out to be. */
export const PODS = [
  [POD_ADDRESSES[0], "10.244.1.1", "10.244.0.1", "10.244.77.200", "10.244.255.254"],
  [POD_ADDRESSES[1], "fd00:10:244::1", "fd00:10:244:77::9", "fd00:10:244:ffff:ffff:ffff:ffff:fffe"],
] as const;
const PROTOCOLS = ["TCP", "UDP"] as const;
/** One that many Services have, and one that none has. */
const OTHER_PORTS = [80, 64_999] as const;

interface Place {
  readonly address: string;
  readonly ports: readonly number[];
  /** Sources of which a Service's ranges may think differently. */
  readonly sources: readonly string[];
}

export function randomCalls(services: readonly PlainService[]): Call[] {
  const places = services.flatMap((service) => [...addressPlaces(service), ...nodePortPlaces(service)]);
  const calls = places.flatMap(callsTo);
  return [...new Map(calls.map((call) => [callText(call), call])).values()];
}

function addressPlaces({ clusterIps, externalIps, ingress, ports, sourceRanges }: PlainService): Place[] {
  const loadBalancer = ingress.flatMap(({ ip }) => (ip === undefined ? [] : [ip]));
  const addresses = [...clusterIps, ...externalIps, ...loadBalancer].filter((address) => address !== "None");
  const own = ports.filter(({ protocol }) => protocol !== "SCTP").map(({ port }) => port);
  const sources = sourceRanges.length > 0 ? [...SECOND_ADDRESSES, ...loadBalancer] : [];
  return addresses.map((address) => ({ address, ports: [...own, ...OTHER_PORTS], sources }));
}

function nodePortPlaces({ ports }: PlainService): Place[] {
  const own = ports.flatMap(({ nodePort, protocol }) =>
    nodePort === undefined || protocol === "SCTP" ? [] : [nodePort],
  );
  if (own.length === 0) return [];
  return [...NODE_ADDRESSES, ...SECOND_ADDRESSES].map((address) => ({ address, ports: own, sources: [] }));
}

function callsTo({ address, ports, sources }: Place): Call[] {
  const v6 = isIPv6(address);
  const index = v6 ? 1 : 0;
  const callers = [
    { from: "host", source: NODE_ADDRESSES[index] },
    { from: "pod", source: POD_ADDRESSES[index] },
    { from: "elsewhere", source: ELSEWHERE[index] },
    ...sources.filter((source) => isIPv6(source) === v6).map((source) => ({ from: "host", source }) as const),
  ] as const;
  return ports.flatMap((port) =>
    PROTOCOLS.flatMap((protocol) => callers.map((caller) => ({ ...caller, address, port, protocol }))),
  );
}
