// SPDX-License-Identifier: Apache-2.0
// Who is local: how many endpoints of a Service a load balancer finds behind this node, and which ServicePorts drop here
// what others would serve. For health checks and metrics.

import { ADDRESS_BYTES, type AddressKey, addressKey } from "../model/address.ts";
import { copyAddress } from "../model/address-list.ts";
import { CONDITION, type EndpointSlice, type Family } from "../model/types.ts";
import { ENDPOINT, ENDPOINT_STRIDE, type Unit } from "./unit.ts";

/**
 * Distinct addresses of the Service's ready endpoints on this node in one family, whatever their ports. Terminating ones
 * do not count, so that a load balancer goes elsewhere while they still serve. Pure.
 */
export function countLocalReady(slices: readonly EndpointSlice[], family: Family, nodeName: string): number {
  const addresses = new Set<AddressKey>();
  const bytes = new Uint8Array(ADDRESS_BYTES);
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (let i = 0; i < slice.count; i++) {
      if (slice.nodeNames[i] !== nodeName || ((slice.conditions[i] ?? 0) & CONDITION.READY) === 0) continue;
      copyAddress(slice, i, bytes);
      addresses.add(addressKey(bytes));
    }
  }
  return addresses.size;
}

/** ServicePorts by the policy that makes them drop. */
export interface NoLocal {
  internal: number;
  external: number;
}

/** Those whose Local policy finds no endpoint on this node although there are some elsewhere, by family. Pure. */
export function countNoLocal(units: Iterable<Unit>): ReadonlyMap<Family, NoLocal> {
  const counts = new Map<Family, NoLocal>([
    [4, { internal: 0, external: 0 }],
    [6, { internal: 0, external: 0 }],
  ]);
  for (const unit of units) {
    const count = counts.get(unit.family);
    if (count === undefined || unit.emptyLocal !== "drop" || hasLocal(unit.endpoints)) continue;
    if (unit.frontends.some(({ internalLocal }) => internalLocal)) count.internal++;
    if (unit.frontends.some(({ externalLocal }) => externalLocal)) count.external++;
  }
  return counts;
}

function hasLocal(endpoints: Uint8Array): boolean {
  for (let flags = 18; flags < endpoints.length; flags += ENDPOINT_STRIDE)
    if (((endpoints[flags] ?? 0) & ENDPOINT.LOCAL) !== 0) return true;
  return false;
}
