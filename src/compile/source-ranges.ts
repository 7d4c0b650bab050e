// SPDX-License-Identifier: Apache-2.0
// Who on this node may call a Service's load balancer addresses (spec.loadBalancerSourceRanges)? The source of a socket
// that is not bound is only known after routing, so such a caller is judged by who it is: by the node's own address if
// it is of the host, by all addresses that pods can have if it is of a pod.

import {
  addressBytes,
  type Cidr,
  cidrContains,
  familyOfText,
  formatCidr,
  isIpv4Bytes,
  parseCidr,
} from "../model/address.ts";
import type { Family, NodeFacts, Service } from "../model/types.ts";
import type { UnitRanges } from "./unit.ts";

export interface RangeFacts {
  readonly facts: Pick<NodeFacts, "primaryAddresses" | "podCidrs">;
  /** Where the cluster's pods live; of a family without any, the Node's podCidrs have to do. */
  readonly clusterCidrs: readonly Cidr[];
}

/** Pure. null: open to all, as a family without any range is, or with one that holds every address. */
export function unitRanges(service: Service, family: Family, { facts, clusterCidrs }: RangeFacts): UnitRanges | null {
  const ranges = cidrsOf(service.sourceRanges, family);
  if (ranges.length === 0 || ranges.some((range) => sizeOf(range) === 0)) return null;
  const primary = facts.primaryAddresses.find((address) => familyOfText(address) === family);
  const allowHost = primary !== undefined && holds(ranges, addressBytes(primary));
  const configured = clusterCidrs.filter((cidr) => cidr.family === family);
  const pods = configured.length > 0 ? configured : cidrsOf(facts.podCidrs, family);
  const allowPods = pods.length > 0 && pods.every((cidr) => covers(ranges, cidr));
  return { allowHost, allowPods, prefixes: prefixesOf(service, family, { ranges, allowHost }) };
}

/**
 * Of the Service's own addresses too where the node is allowed: with such an address on a device of it, a process
 * that calls it has it as its source.
 */
function prefixesOf(
  service: Service,
  family: Family,
  { ranges, allowHost }: { ranges: readonly Cidr[]; allowHost: boolean },
): readonly string[] {
  // No IPv6 source looks like IPv4, and in the map such a prefix would be one of IPv4.
  const texts = ranges.filter(({ bytes }) => family === 4 || !isIpv4Bytes(bytes)).map(formatCidr);
  if (allowHost) {
    const own = service.loadBalancerIps.filter((address) => familyOfText(address) === family);
    texts.push(...own.map((address) => `${address}/${family === 4 ? 32 : 128}`));
  }
  return [...new Set(texts)].sort();
}

function cidrsOf(texts: readonly string[], family: Family): Cidr[] {
  return texts.map(parseCidr).filter((cidr) => cidr !== null && cidr.family === family) as Cidr[];
}

/** The length of the prefix as people write it. */
function sizeOf({ family, bits }: Cidr): number {
  return family === 4 ? bits - 96 : bits;
}

function holds(ranges: readonly Cidr[], bytes: Uint8Array): boolean {
  return ranges.some((range) => cidrContains(range, bytes));
}

/** Whether the ranges together hold every address of the prefix. */
function covers(ranges: readonly Cidr[], cidr: Cidr): boolean {
  if (ranges.some((range) => range.bits <= cidr.bits && cidrContains(range, cidr.bytes))) return true;
  const within = ranges.filter((range) => range.bits > cidr.bits && cidrContains(cidr, range.bytes));
  // Less than two leave a hole, and a prefix of one address has nothing within.
  return within.length > 1 && halvesOf(cidr).every((half) => covers(within, half));
}

function halvesOf({ family, bytes, bits }: Cidr): readonly Cidr[] {
  const upper = bytes.slice();
  upper[bits >> 3] = (upper[bits >> 3] ?? 0) | (0x80 >> (bits & 7));
  return [
    { family, bytes, bits: bits + 1 },
    { family, bytes: upper, bits: bits + 1 },
  ];
}
