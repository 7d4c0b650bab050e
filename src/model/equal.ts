// SPDX-License-Identifier: Apache-2.0
// Are two objects the same to a Service proxy? Every field counts, so that a relist of unchanged objects costs nothing.

import type { EndpointSlice, Node, Service, ServicePort, SlicePort } from "./types.ts";

/** Every field equal, order of lists included. */
export function sameService(a: Service, b: Service): boolean {
  return (
    a.namespace === b.namespace &&
    a.name === b.name &&
    a.uid === b.uid &&
    a.createdMs === b.createdMs &&
    a.type === b.type &&
    a.internalLocal === b.internalLocal &&
    a.externalLocal === b.externalLocal &&
    a.affinitySec === b.affinitySec &&
    a.healthCheckNodePort === b.healthCheckNodePort &&
    sameItems(a.clusterIps, b.clusterIps) &&
    sameItems(a.externalIps, b.externalIps) &&
    sameItems(a.loadBalancerIps, b.loadBalancerIps) &&
    sameItems(a.sourceRanges, b.sourceRanges) &&
    sameItems(a.ports, b.ports, sameServicePort)
  );
}

/** Every field but triggerMs equal, order of lists included. */
export function sameEndpointSlice(a: EndpointSlice, b: EndpointSlice): boolean {
  return (
    a.namespace === b.namespace &&
    a.name === b.name &&
    a.serviceName === b.serviceName &&
    a.family === b.family &&
    a.count === b.count &&
    sameItems(a.ports, b.ports, sameSlicePort) &&
    sameItems(a.conditions, b.conditions) &&
    sameItems(a.addresses, b.addresses) &&
    sameItems(a.nodeNames, b.nodeNames) &&
    sameHints(a.zoneHints, b.zoneHints) &&
    sameHints(a.nodeHints, b.nodeHints)
  );
}

type Hints = EndpointSlice["zoneHints"];

function sameHints(a: Hints, b: Hints): boolean {
  if (a === null || b === null) return a === b;
  return sameItems(a, b, (one, other) => one === other || sameItems(one, other));
}

/** Every field equal, order of lists included. */
export function sameNode(a: Node, b: Node): boolean {
  return (
    a.name === b.name &&
    a.uid === b.uid &&
    a.zone === b.zone &&
    a.deleting === b.deleting &&
    a.excluded === b.excluded &&
    sameItems(a.internalIps, b.internalIps) &&
    sameItems(a.externalIps, b.externalIps) &&
    sameItems(a.podCidrs, b.podCidrs)
  );
}

function sameServicePort(a: ServicePort, b: ServicePort): boolean {
  return a.name === b.name && a.protocol === b.protocol && a.port === b.port && a.nodePort === b.nodePort;
}

function sameSlicePort(a: SlicePort, b: SlicePort): boolean {
  return a.name === b.name && a.protocol === b.protocol && a.port === b.port;
}

/** Same length and pairwise equal; works on typed arrays as on arrays. */
export function sameItems<T>(a: ArrayLike<T>, b: ArrayLike<T>, same: (a: T, b: T) => boolean = Object.is): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!same(a[i] as T, b[i] as T)) return false;
  return true;
}
