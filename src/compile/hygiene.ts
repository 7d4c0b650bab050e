// SPDX-License-Identifier: Apache-2.0
// Which endpoint addresses may traffic be sent to? What a slice's author could abuse is refused and named: the node
// itself (loopback, link-local), groups, and another Service, which would make a translated packet a new question.

import {
  ADDRESS_BYTES,
  type Cidr,
  cidrContains,
  formatAddress,
  formatCidr,
  type SpecialAddress,
  specialAddress,
} from "../model/address.ts";
import { copyAddress } from "../model/address-list.ts";
import type { EndpointSlice, Family, Problem } from "../model/types.ts";

/** A slice less the endpoints that are refused. */
export interface AcceptedSlice {
  readonly slice: EndpointSlice;
  /** Indexes that are not to be used; null: none. */
  readonly refused: ReadonlySet<number> | null;
}

/** Which addresses are Services'. */
export interface ServiceNetworks {
  /** Whether some Service has this ClusterIP. */
  readonly isClusterIp: (bytes: Uint8Array, offset: number) => boolean;
  /** Where ClusterIPs come from. */
  readonly serviceCidrs: readonly Cidr[];
}

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
 * One of a ServiceCIDR that is nobody's ClusterIP yet may be one at any moment.
 */
export function acceptEndpoints(slice: EndpointSlice, services: ServiceNetworks, problems: Problem[]): AcceptedSlice {
  let refused: Set<number> | null = null;
  const problem = (field: string, reason: string): void => {
    const key = `${slice.namespace}/${slice.name}`;
    problems.push({ kind: "EndpointSlice", key, field, reason, event: "EndpointRefused" });
  };
  const serviceCidrs = services.serviceCidrs.filter(({ family }) => family === slice.family);
  const networks = { ...services, serviceCidrs };
  const bytes = new Uint8Array(ADDRESS_BYTES);
  for (let i = 0; i < slice.count; i++) {
    copyAddress(slice, i, bytes);
    const reason = refusal(bytes, slice.family, networks);
    if (reason === null) continue;
    refused ??= new Set();
    refused.add(i);
    if (refused.size > MAX_NAMED) continue;
    problem(`endpoints[${i}].addresses[0]`, reason(formatAddress(bytes, 0, slice.family)));
  }
  const unnamed = (refused?.size ?? 0) - MAX_NAMED;
  if (unnamed > 0) problem("endpoints", `${unnamed} more endpoints are refused`);
  return { slice, refused };
}

/** What to say of an address if it is refused. */
function refusal(bytes: Uint8Array, family: Family, services: ServiceNetworks): ((address: string) => string) | null {
  const special = specialAddress(bytes, 0, family);
  if (special !== null) return (address) => refusedBecause(address, special);
  if (services.isClusterIp(bytes, 0)) return (address) => `${address} is the ClusterIP of a Service`;
  const cidr = services.serviceCidrs.find((one) => cidrContains(one, bytes));
  return cidr === undefined ? null : (address) => `${address} is in the Services' network ${formatCidr(cidr)}`;
}
