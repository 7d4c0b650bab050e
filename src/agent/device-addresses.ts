// SPDX-License-Identifier: Apache-2.0
// What the node's addresses mean: on which of them NodePorts answer, and which ClusterIPs are left to a device.

import { NODE_ADDR } from "../datapath/layout.ts";
import { type Cidr, cidrContains, familyOf, formatAddress, parseCidr } from "../model/address.ts";
import type { NodeAddress } from "../program/node-addresses.ts";

/** Prefixes of a configuration that was checked before. */
export function cidrsOf(texts: readonly string[] | null): readonly Cidr[] | null {
  return texts?.map((text) => parseCidr(text)).filter((cidr) => cidr !== null) ?? null;
}

/** Null, or no prefix of an address' family: NodePorts answer on it. */
export function nodeAddresses(addresses: readonly Uint8Array[], nodePortCidrs: readonly Cidr[] | null): NodeAddress[] {
  return addresses.map((address) => {
    const family = familyOf(address);
    const cidrs = nodePortCidrs?.filter((cidr) => cidr.family === family) ?? [];
    const answers = cidrs.length === 0 || cidrs.some((cidr) => cidrContains(cidr, address));
    return { address, flags: NODE_ADDR.MINE | (answers ? NODE_ADDR.NODE_PORT : 0) };
  });
}

/** Canonical text of each. */
export const addressTexts = (addresses: readonly Uint8Array[]): ReadonlySet<string> =>
  new Set(addresses.map((address) => formatAddress(address)));
