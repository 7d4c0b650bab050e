// SPDX-License-Identifier: Apache-2.0
// The unit: one ServicePort in one address family. Output of compile; unit of diff, of failure and of status.

import type { Family, Problem, Protocol, ServiceKey } from "../model/types.ts";
import { PROTOCOL_NAME } from "../model/types.ts";

export type FrontendRole = "clusterIP" | "nodePort" | "externalIP" | "loadBalancer";

export interface Frontend {
  readonly role: FrontendRole;
  /** Canonical text; "" for a NodePort (every address of the node, by pt_node_addrs). */
  readonly address: string;
  readonly port: number;
  /** Callers on this node use the local set (ClusterIP with internalTrafficPolicy Local). */
  readonly internalLocal: boolean;
  /** Packets from outside use the local set (external frontend with externalTrafficPolicy Local). */
  readonly externalLocal: boolean;
}

/** Bits of an endpoint's flags byte; the values of `enum backend_flags` in bpf/types.h. */
export const ENDPOINT = { CLUSTER: 1, LOCAL: 2, SERVING: 4 } as const;

/** Bytes of one endpoint in Unit.endpoints: address 16, port 2 (big endian), flags 1, zero 1. */
export const ENDPOINT_STRIDE = 20;

export interface Unit {
  /** unitKey(): "namespace/name:port/TCP/4". */
  readonly key: string;
  readonly service: ServiceKey;
  /** unitName(): "namespace/name:port", what pt_names holds. */
  readonly name: string;
  readonly family: Family;
  readonly protocol: Protocol;
  /** Sorted by role, address, port; no two equal. */
  readonly frontends: readonly Frontend[];
  /** n × ENDPOINT_STRIDE, ascending by (address, port), no two with the same (address, port): equal sets have equal bytes. Every endpoint that is in a set or serving. */
  readonly endpoints: Uint8Array;
  /** What an empty cluster set and an empty local set answer. The cluster set: always "reject". */
  readonly emptyLocal: "reject" | "drop";
  readonly affinitySec: number;
  /** Who may call the frontends of role loadBalancer; null: anyone. */
  readonly sourceRanges: UnitRanges | null;
}

/** loadBalancerSourceRanges of one family, for callers on this node and for packets. */
export interface UnitRanges {
  /** Processes of the host whose socket is not bound. */
  readonly allowHost: boolean;
  /** Pods whose socket is not bound. */
  readonly allowPods: boolean;
  /** Canonical CIDRs of the unit's family, sorted, no two equal: the sources of bound sockets and of packets. */
  readonly prefixes: readonly string[];
}

/** Unit.name: "namespace/name:port", and "namespace/name" for the unnamed port, as kube-proxy prints them. */
export function unitName(service: ServiceKey, portName: string): string {
  return portName === "" ? service : [service, portName].join(":");
}

/** Unit.key from what pt_names holds: "namespace/name:port/TCP/4". */
export function unitKey(name: string, protocol: Protocol, family: Family): string {
  return [name, PROTOCOL_NAME[protocol], family].join("/");
}

/** What changed since the last compile. */
export interface UnitDelta {
  /** New and changed units, whole. */
  readonly upserted: readonly Unit[];
  /** Keys of units that are gone. */
  readonly removed: readonly string[];
  /** Problems of every Service compiled in this round, by Service (an empty list clears). */
  readonly problems: ReadonlyMap<ServiceKey, readonly Problem[]>;
}
