// SPDX-License-Identifier: Apache-2.0
// Which endpoint addresses may traffic be sent to? What a slice's author could abuse is refused and named: the node
// itself (loopback, link-local), groups, and another Service, which would make a translated packet a new question.

import { formatAddress, type SpecialAddress, specialAddress } from "../model/address.ts";
import type { EndpointSlice, Problem } from "../model/types.ts";

/** A slice less the endpoints that are refused. */
export interface AcceptedSlice {
  readonly slice: EndpointSlice;
  /** Indexes that are not to be used; null: none. */
  readonly refused: ReadonlySet<number> | null;
}

/** Whether some Service has this ClusterIP. */
export type IsClusterIp = (bytes: Uint8Array, offset: number) => boolean;

/** Refused endpoints of one slice that are named one by one; the others are only counted. */
const MAX_NAMED = 16;

const WORDS: Readonly<Record<SpecialAddress, string>> = {
  unspecified: "an unspecified address",
  loopback: "a loopback address",
  "link-local": "a link-local address",
  multicast: "a multicast address",
  reserved: "a reserved address",
  "v4-mapped": "IPv4 written as IPv6",
};

/** The sentence for an address that is refused for what it is. */
export function refusedBecause(address: string, special: SpecialAddress): string {
  return `${address} is ${WORDS[special]}`;
}

/**
 * Judges every endpoint of a slice and adds what it refuses to `problems`. "A Service's address" means a ClusterIP:
 * external and load balancer addresses are often the node's own, and then rightly those of host-network endpoints.
 */
export function acceptEndpoints(slice: EndpointSlice, isClusterIp: IsClusterIp, problems: Problem[]): AcceptedSlice {
  let refused: Set<number> | null = null;
  const problem = (field: string, reason: string): void => {
    problems.push({ kind: "EndpointSlice", key: `${slice.namespace}/${slice.name}`, field, reason });
  };
  for (let i = 0; i < slice.count; i++) {
    const special = specialAddress(slice.addresses, 16 * i, slice.family);
    if (special === null && !isClusterIp(slice.addresses, 16 * i)) continue;
    refused ??= new Set();
    refused.add(i);
    if (refused.size > MAX_NAMED) continue;
    const address = formatAddress(slice.addresses, 16 * i, slice.family);
    problem(
      `endpoints[${i}].addresses[0]`,
      special === null ? `${address} is the ClusterIP of a Service` : refusedBecause(address, special),
    );
  }
  const unnamed = (refused?.size ?? 0) - MAX_NAMED;
  if (unnamed > 0) problem("endpoints", `${unnamed} more endpoints are refused`);
  return { slice, refused };
}
