// SPDX-License-Identifier: Apache-2.0
// Which address families this node serves, and whether that goes together with what it was told of the pods' networks.

import { existsSync, readFileSync } from "node:fs";
import type { Config } from "../../config/schema.ts";
import { familyOfText } from "../../model/address.ts";
import type { Family, NodeFacts } from "../../model/types.ts";

/** A kernel without IPv6, or one where it is switched off, has one family. `root`: where /proc is. */
export function servedFamilies(root = "/proc"): readonly Family[] {
  const off = `${root}/sys/net/ipv6/conf/all/disable_ipv6`;
  const has = existsSync(`${root}/net/if_inet6`) && !(existsSync(off) && readFileSync(off, "utf8").trim() === "1");
  return has ? [4, 6] : [4];
}

/** What kube-proxy does not start with, though each part of it is right; null: nothing. */
export function familyProblem(
  { detectLocalMode, clusterCidrs }: Pick<Config, "detectLocalMode" | "clusterCidrs">,
  { primaryAddresses: [address = "0.0.0.0"], podCidrs }: NodeFacts,
  families: readonly Family[],
): string | null {
  const primary = familyOfText(address);
  if (!families.includes(primary)) return `the node's address is ${address}, and its kernel has no IPv${primary}`;
  const foreign = (cidrs: readonly string[]) =>
    cidrs.length > 0 && cidrs.every((cidr) => familyOfText(cidr) !== primary);
  if (detectLocalMode === "ClusterCIDR" && families.length === 1 && foreign(clusterCidrs))
    return `clusterCIDR ${clusterCidrs} has no network of IPv${primary}, the only family of this node`;
  if (detectLocalMode === "NodeCIDR" && foreign(podCidrs))
    return `podCIDRs ${podCidrs} of the Node have no network of IPv${primary}, the family of its address`;
  return null;
}
