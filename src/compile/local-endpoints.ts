// SPDX-License-Identifier: Apache-2.0
// How many endpoints of a Service a load balancer finds behind this node: what its health check is told.

import { ADDRESS_BYTES } from "../model/address.ts";
import { CONDITION, type EndpointSlice, type Family } from "../model/types.ts";

/**
 * Distinct addresses of the Service's ready endpoints on this node in one family, whatever their ports. Terminating ones
 * do not count, so that a load balancer goes elsewhere while they still serve. Pure.
 */
export function countLocalReady(slices: readonly EndpointSlice[], family: Family, nodeName: string): number {
  const addresses = new Set<string>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (let i = 0; i < slice.count; i++) {
      if (slice.nodeNames[i] !== nodeName || ((slice.conditions[i] ?? 0) & CONDITION.READY) === 0) continue;
      addresses.add(slice.addresses.subarray(ADDRESS_BYTES * i, ADDRESS_BYTES * (i + 1)).join());
    }
  }
  return addresses.size;
}
