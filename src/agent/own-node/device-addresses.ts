// SPDX-License-Identifier: Apache-2.0
// What the node's addresses mean: on which of them NodePorts answer, and which ClusterIPs are left to a device.

import type { Config } from "../../config/schema.ts";
import { NODE_ADDR } from "../../datapath/layout.ts";
import {
  addressBytes,
  type Cidr,
  cidrContains,
  familyOf,
  familyOfText,
  formatAddress,
  parseCidr,
} from "../../model/address.ts";
import type { NodeAddress } from "../../program/node-addresses.ts";

/**
 * On which addresses NodePorts answer, as prefixes; [] for all. What is not configured is kube-proxy's default: all, and
 * in nftables mode the node's primary addresses; a family that the node is not known to have an address of answers on all.
 */
export function nodePortCidrs(config: NodePortConfig, primaryAddresses: readonly string[]): readonly Cidr[] {
  if (!answersOnPrimary(config)) return cidrsOf(scopeOf(config));
  return cidrsOf(primaryAddresses.map((address) => `${address}/${familyOfText(address) === 4 ? 32 : 128}`));
}

/** Do NodePorts answer on those addresses that the Node object names? */
export const answersOnPrimary = (config: NodePortConfig): boolean => scopeOf(config)[0] === "primary";

/** Do NodePorts answer on 127/8? Where no IPv4 prefix limits them, or one holds it. */
export function answersOnLoopback(config: NodePortConfig): boolean {
  if (answersOnPrimary(config)) return false;
  const cidrs = cidrsOf(scopeOf(config)).filter(({ family }) => family === 4);
  return cidrs.length === 0 || cidrs.some((cidr) => cidrContains(cidr, LOOPBACK));
}

/** ["primary"], prefixes, or [] for all. An empty list is as good as none. */
function scopeOf({ nodePortAddresses, mode }: NodePortConfig): readonly string[] {
  if (nodePortAddresses !== null && nodePortAddresses.length > 0) return nodePortAddresses;
  return mode === "nftables" ? ["primary"] : [];
}

const LOOPBACK = addressBytes("127.0.0.1");

type NodePortConfig = Pick<Config, "nodePortAddresses" | "mode">;

/** Prefixes of a configuration that was checked before. */
export function cidrsOf(texts: readonly string[]): readonly Cidr[] {
  return texts.map(parseCidr).filter((cidr) => cidr !== null);
}

/** No prefix of an address' family: NodePorts answer on it. */
export function nodeAddresses(addresses: readonly Uint8Array[], answering: readonly Cidr[]): NodeAddress[] {
  return addresses.map((address) => {
    const family = familyOf(address);
    const cidrs = answering.filter((cidr) => cidr.family === family);
    const answers = cidrs.length === 0 || cidrs.some((cidr) => cidrContains(cidr, address));
    return { address, flags: NODE_ADDR.MINE | (answers ? NODE_ADDR.NODE_PORT : 0) };
  });
}

/** Canonical text of each. */
export const addressTexts = (addresses: readonly Uint8Array[]): ReadonlySet<string> =>
  new Set(addresses.map((address) => formatAddress(address)));
