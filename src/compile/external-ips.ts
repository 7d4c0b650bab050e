// SPDX-License-Identifier: Apache-2.0
// May a Service have this external address? Whoever may write spec.externalIPs can take traffic meant for others
// (CVE-2020-8554), so an allow-list can confine them, and then never covers the node, pods or Services.

import { addressBytes, type Cidr, cidrContains, formatCidr, parseCidr } from "../model/address.ts";
import type { NodeFacts } from "../model/types.ts";

export interface ExternalIpRules {
  /** False: none is served. */
  readonly allowServiceExternalIps: boolean;
  /** Those outside all of these are refused; null: none is, as with kube-proxy. */
  readonly externalIpsAllowed: readonly Cidr[] | null;
  /** Canonical text of every address on a device of this node. */
  readonly deviceAddresses: ReadonlySet<string>;
  /** Where the cluster's pods live, as far as that was configured. */
  readonly clusterCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
}

/** Why it is refused, in words that begin with the address; null if it is not. */
export function refusedExternalIp(address: string, rules: ExternalIpRules, facts: NodeFacts): string | null {
  if (!rules.allowServiceExternalIps) return `${address} is an external address, and those are switched off`;
  const allowed = rules.externalIpsAllowed;
  if (allowed === null) return null;
  const bytes = addressBytes(address);
  if (!holds(allowed, bytes)) return `${address} is outside the external addresses allowed`;
  if (rules.deviceAddresses.has(address) || facts.primaryAddresses.includes(address)) {
    return `${address} is an address of this node`;
  }
  const pods = facts.podCidrs.map((text) => parseCidr(text)).find((cidr) => cidr !== null && cidrContains(cidr, bytes));
  const taken = pods ?? holds(rules.clusterCidrs, bytes);
  if (taken) return `${address} is in the pods' network ${formatCidr(taken)}`;
  const services = holds(rules.serviceCidrs, bytes);
  return services ? `${address} is in the Services' network ${formatCidr(services)}` : null;
}

function holds(cidrs: readonly Cidr[], bytes: Uint8Array): Cidr | undefined {
  return cidrs.find((cidr) => cidrContains(cidr, bytes));
}
