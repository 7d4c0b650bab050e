// SPDX-License-Identifier: Apache-2.0
// The objects portolan works on, reduced at decode time to what a Service proxy needs. Plain values: no I/O, no clock.

/** IANA protocol numbers of the Service protocols. */
export const PROTOCOL = { TCP: 6, UDP: 17, SCTP: 132 } as const;
export type Protocol = (typeof PROTOCOL)[keyof typeof PROTOCOL];
export const PROTOCOL_NAME: Readonly<Record<Protocol, keyof typeof PROTOCOL>> = { 6: "TCP", 17: "UDP", 132: "SCTP" };
export type Family = 4 | 6;

/**
 * "namespace/name", joined and not written as a template: that would be a tree of pieces to V8, twice the memory in each
 * of the tens of thousands of keys that stay.
 */
export function objectKey(namespace: string, name: string): string {
  return [namespace, name].join("/");
}

/** "namespace/name" of a Service. */
export type ServiceKey = string;
/** "namespace/name" of an EndpointSlice. */
export type SliceKey = string;

/** Service.createdMs of a Service that does not say: younger than all that do, so that it can take nothing from them. */
export const UNKNOWN_AGE = Number.MAX_SAFE_INTEGER;

export interface ServicePort {
  /** "" for the single unnamed port. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** metadata.creationTimestamp in Unix milliseconds; UNKNOWN_AGE if absent. Decides conflicts: the older Service wins. */
  readonly createdMs: number;
  /** spec.type as written; for people only. */
  readonly type: string;
  /** Canonical text addresses (address.ts), both families; empty for headless and ExternalName. */
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  /** status.loadBalancer.ingress[].ip with ipMode nil or VIP. */
  readonly loadBalancerIps: readonly string[];
  readonly ports: readonly ServicePort[];
  /** spec.internalTrafficPolicy == Local. */
  readonly internalLocal: boolean;
  /** spec.externalTrafficPolicy == Local, where that counts: types NodePort, LoadBalancer, and ClusterIP with externalIPs. */
  readonly externalLocal: boolean;
  /** ClientIP affinity timeout in seconds; 0: none. */
  readonly affinitySec: number;
  /** Canonical CIDR text of spec.loadBalancerSourceRanges, both families; who may call a load balancer address. */
  readonly sourceRanges: readonly string[];
  /** spec.healthCheckNodePort; 0: none. */
  readonly healthCheckNodePort: number;
}

/** Bits of SliceEndpoints.conditions, nil conditions resolved (contract: nil ready = ready, nil serving = serving, nil terminating = not). */
export const CONDITION = { READY: 1, SERVING: 2, TERMINATING: 4 } as const;

export interface SlicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** Label kubernetes.io/service-name. */
  readonly serviceName: string;
  readonly family: Family;
  /** Ports without a name (nil) or number are left out at decode. */
  readonly ports: readonly SlicePort[];
  readonly count: number;
  /** addresses[0] of each endpoint, in words (address-list.ts). */
  readonly addresses: readonly number[];
  /** count × CONDITION bits. */
  readonly conditions: Uint8Array;
  /** Interned node names, null where the endpoint has none. */
  readonly nodeNames: readonly (string | null)[];
  /** Zones each endpoint is meant for (hints.forZones), [] where it has no hint; null: no endpoint has one. Shared lists. */
  readonly zoneHints: readonly (readonly string[])[] | null;
  /** Nodes each endpoint is meant for (hints.forNodes), likewise. */
  readonly nodeHints: readonly (readonly string[])[] | null;
  /**
   * Annotation endpoints.kubernetes.io/last-change-trigger-time in Unix milliseconds: when the pod or Service changed
   * that this version of the slice is about; 0 if absent. Of no account to who is served.
   */
  readonly triggerMs: number;
}

/** The Node object of this node. */
export interface Node {
  readonly name: string;
  readonly uid: string;
  /** Label topology.kubernetes.io/zone; "" if unlabelled. */
  readonly zone: string;
  /** status.addresses of type InternalIP, in order, canonical text. */
  readonly internalIps: readonly string[];
  /** Those of type ExternalIP. */
  readonly externalIps: readonly string[];
  /** spec.podCIDRs, canonical text. */
  readonly podCidrs: readonly string[];
  /** It has a deletionTimestamp. */
  readonly deleting: boolean;
  /** It has the taint ToBeDeletedByClusterAutoscaler, of any effect. */
  readonly excluded: boolean;
}

/** What compile knows of the node itself; nodeFacts() in node.ts makes it. */
export interface NodeFacts {
  /** Our node name: trimmed, lower case. Local = an endpoint's nodeName equals it. */
  readonly nodeName: string;
  /** "" if the node has none or is not known yet. */
  readonly zone: string;
  /** The node's own address, and the first of the other family if it has one; [] if none is known. Canonical text. */
  readonly primaryAddresses: readonly string[];
  /** Canonical text; [] if not known. */
  readonly podCidrs: readonly string[];
}

/** One object, or part of it, that was not accepted: named for `status` and the log. */
export interface Problem {
  readonly kind: "Service" | "EndpointSlice" | "Node" | "ServiceCIDR" | "File";
  /** "namespace/name", "name" of what is in no namespace, or a file's path. */
  readonly key: string;
  /** Field path ("spec.ports[1].port"), "line 12" for a file, "" if the whole. */
  readonly field: string;
  readonly reason: string;
  /** What an Event about it is called ("FrontendConflict"); left out where the sort of problem has no name of its own. */
  readonly event?: string;
}
