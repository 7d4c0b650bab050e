// SPDX-License-Identifier: Apache-2.0
// The bodies of a Node and of a ServiceCIDR: the few fields that concern a Service proxy.

import { canonicalAddress, formatCidr, parseCidr } from "../../model/address.ts";
import type { Node } from "../../model/types.ts";
import {
  describe,
  exact,
  type Findings,
  intern,
  isObject,
  type JsonObject,
  listMember,
  member,
  objectMember,
} from "./field.ts";
import type { ObjectMeta } from "./meta.ts";

const ZONE_LABEL = "topology.kubernetes.io/zone";
const EXCLUDED_TAINT = "ToBeDeletedByClusterAutoscaler";
const NOTHING: JsonObject = {};

/** The Node; what it says wrongly is a finding and left out. */
export function nodeFrom(meta: ObjectMeta, object: JsonObject, findings: Findings): Node {
  const spec = objectMember(object, "spec") ?? NOTHING;
  const zone = member(meta.labels, ZONE_LABEL);
  const addresses = readAddresses(objectMember(object, "status") ?? NOTHING, findings);
  return {
    name: meta.name,
    uid: meta.uid,
    zone: typeof zone === "string" ? intern(zone) : "",
    internalIps: addresses("InternalIP"),
    externalIps: addresses("ExternalIP"),
    podCidrs: readPodCidrs(spec, findings),
    deleting: meta.deleting,
    excluded: listMember(spec, "taints", "spec.taints", findings).some(
      (taint) => isObject(taint) && member(taint, "key") === EXCLUDED_TAINT,
    ),
  };
}

/** The prefixes of a ServiceCIDR, canonical text. */
export function serviceCidrsFrom(_meta: ObjectMeta, object: JsonObject, findings: Findings): readonly string[] {
  const spec = objectMember(object, "spec") ?? NOTHING;
  return readCidrs(listMember(spec, "cidrs", "spec.cidrs", findings), "spec.cidrs", findings);
}

/** Addresses of other types ("Hostname") are none of ours, and an ExternalIP may be a name. */
function readAddresses(status: JsonObject, findings: Findings): (type: string) => readonly string[] {
  const list = listMember(status, "addresses", "status.addresses", findings);
  return (type) => {
    const found: string[] = [];
    for (const [i, entry] of list.entries()) {
      if (!isObject(entry) || member(entry, "type") !== type) continue;
      const text = member(entry, "address");
      const address = typeof text === "string" ? canonicalAddress(text) : null;
      if (address === null)
        findings.add(`status.addresses[${i}].address`, `must be an IP address, not ${describe(text)}`);
      else if (!found.includes(address)) found.push(address);
    }
    return exact(found);
  };
}

/** Old objects have the single field alone. */
function readPodCidrs(spec: JsonObject, findings: Findings): readonly string[] {
  const list = listMember(spec, "podCIDRs", "spec.podCIDRs", findings);
  const single = member(spec, "podCIDR") ?? "";
  if (list.length > 0 || single === "") return readCidrs(list, "spec.podCIDRs", findings);
  return readCidrs([single], "spec.podCIDR", findings);
}

function readCidrs(list: readonly unknown[], path: string, findings: Findings): readonly string[] {
  const cidrs: string[] = [];
  for (const [i, value] of list.entries()) {
    const cidr = typeof value === "string" ? parseCidr(value) : null;
    if (cidr === null) findings.add(`${path}[${i}]`, `must be a CIDR, not ${describe(value)}`);
    else if (!cidrs.includes(formatCidr(cidr))) cidrs.push(formatCidr(cidr));
  }
  return exact(cidrs);
}
