// SPDX-License-Identifier: Apache-2.0
// What does the Node object say that a Service proxy acts on? Its zone, its own addresses and its pods' prefixes.

import { canonicalAddress, familyOfText } from "./address.ts";
import type { Node, NodeFacts } from "./types.ts";

export interface NodeIdentity {
  /** Trimmed, lower case. */
  readonly nodeName: string;
  /** Takes the place of the node's own address of its family; an unspecified one does not. */
  readonly bindAddress: string;
}

/** The facts of a node; of one whose object is not known (null) its name and the address it was told to bind. */
export function nodeFacts({ nodeName, bindAddress }: NodeIdentity, node: Node | null): NodeFacts {
  return {
    nodeName,
    zone: node?.zone ?? "",
    primaryAddresses: overridden(node === null ? [] : nodeAddressesOf(node), bindAddress),
    podCidrs: node?.podCidrs ?? [],
  };
}

/** The first InternalIP, else the first ExternalIP, and the first address of either type in the other family. */
function nodeAddressesOf(node: Node): readonly string[] {
  const all = [...node.internalIps, ...node.externalIps];
  const [first] = all;
  if (first === undefined) return [];
  const other = all.find((address) => familyOfText(address) !== familyOfText(first));
  return other === undefined ? [first] : [first, other];
}

function overridden(addresses: readonly string[], bindAddress: string): readonly string[] {
  const bound = canonicalAddress(bindAddress);
  if (bound === null || bound === "0.0.0.0" || bound === "::") return addresses;
  return [bound, ...addresses.filter((address) => familyOfText(address) !== familyOfText(bound))];
}
