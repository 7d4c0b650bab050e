// SPDX-License-Identifier: Apache-2.0
// Units read back from the maps as rows for people: one a ServicePort and family, one a frontend, one a backend.

import { ENDPOINT, ENDPOINT_STRIDE } from "../compile/unit.ts";
import { ALGORITHM, FRONTEND } from "../datapath/layout.ts";
import type { MapPort } from "../datapath/port.ts";
import { formatAddress } from "../model/address.ts";
import { type Family, type PROTOCOL, PROTOCOL_NAME } from "../model/types.ts";
import { rolesOf } from "../program/frontend-table.ts";
import type { PendingUnit } from "../program/status.ts";
import type { UnitState } from "../program/unit-state.ts";

type ProtocolName = keyof typeof PROTOCOL;

export interface ServiceRow {
  /** "namespace/name:port". */
  readonly service: string;
  readonly protocol: ProtocolName;
  readonly family: Family;
  readonly id: number;
  /** "10.96.0.1:80"; a NodePort is "*:30080". */
  readonly frontends: readonly string[];
  readonly endpoints: number;
  readonly localEndpoints: number;
  /** Open TCP connections from this node. */
  readonly connections: number;
  /** How the cluster set chooses: "random", "reject", … */
  readonly answer: string;
  readonly affinitySec: number;
  readonly state: "programmed" | "pending";
  /** "" when programmed. */
  readonly reason: string;
}

export interface FrontendRow {
  /** Canonical text; "*" for a NodePort. */
  readonly address: string;
  readonly port: number;
  readonly protocol: ProtocolName;
  readonly family: Family;
  readonly roles: readonly string[];
  readonly policies: readonly string[];
  readonly bindGuard: boolean;
  readonly service: string;
  readonly id: number;
}

export interface BackendRow {
  readonly address: string;
  readonly port: number;
  readonly protocol: ProtocolName;
  readonly service: string;
  readonly id: number;
  readonly generation: number;
  readonly sets: readonly string[];
  readonly serving: boolean;
  readonly connections: number;
}

const ROLES = FRONTEND.CLUSTER_IP | FRONTEND.NODE_PORT | FRONTEND.EXTERNAL_IP | FRONTEND.LOAD_BALANCER;
const ANSWERS = new Map<number, string>(
  Object.entries(ALGORITHM).map(([name, value]) => [value, name.toLowerCase().replace("_", "-")]),
);

/** Every unit the kernel has, and after them those that an agent waits to program. */
export function serviceRows(maps: MapPort, units: readonly UnitState[], pending: readonly PendingUnit[]): ServiceRow[] {
  const reasons = new Map(pending.map((unit) => [unit.key, unit]));
  const rows = units.map((unit): ServiceRow => {
    const waiting = reasons.get(unit.key);
    reasons.delete(unit.key);
    return {
      service: unit.name || unit.key,
      protocol: PROTOCOL_NAME[unit.protocol],
      family: unit.family,
      id: unit.serviceId,
      frontends: unit.rows.toSorted(byRole).map((row) => authority(shownAddress(row.address), row.port)),
      endpoints: count(unit, ENDPOINT.CLUSTER),
      localEndpoints: count(unit, ENDPOINT.LOCAL),
      connections: [...unit.backendIds].reduce((sum, id) => sum + Number(maps.active(id)), 0),
      answer: ANSWERS.get(unit.extents.cluster.algorithm) ?? "damaged",
      affinitySec: unit.affinitySec,
      state: waiting === undefined ? "programmed" : "pending",
      reason: waiting?.reason ?? "",
    };
  });
  return [...rows, ...[...reasons.values()].map(notYet)].sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

/** By flags, which rise from ClusterIP to load balancer; NodePorts, which have no address, last. */
const byRole = (a: UnitState["rows"][number], b: UnitState["rows"][number]): number =>
  (a.flags & FRONTEND.NODE_PORT) - (b.flags & FRONTEND.NODE_PORT) ||
  (a.flags & ROLES) - (b.flags & ROLES) ||
  (a.key < b.key ? -1 : 1);

const order = ({ service, protocol, family }: ServiceRow): string => `${service}/${protocol}/${family}`;

/** A unit of which nothing is in the kernel. */
function notYet({ key, name, reason }: PendingUnit): ServiceRow {
  const [, protocolName, family] = /\/(\w+)\/([46])$/.exec(key) ?? [];
  return {
    service: name,
    protocol: protocolName === "UDP" || protocolName === "SCTP" ? protocolName : "TCP",
    family: family === "6" ? 6 : 4,
    id: 0,
    frontends: [],
    endpoints: 0,
    localEndpoints: 0,
    connections: 0,
    answer: "",
    affinitySec: 0,
    state: "pending",
    reason,
  };
}

function count({ endpoints }: UnitState, flag: number): number {
  let found = 0;
  for (let at = 18; at < endpoints.length; at += ENDPOINT_STRIDE) if ((endpoints[at] ?? 0) & flag) found++;
  return found;
}

const shownAddress = (address: string): string => (address === "0.0.0.0" || address === "::" ? "*" : address);

const authority = (address: string, port: number): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

export function frontendRows(units: readonly UnitState[]): FrontendRow[] {
  return units.flatMap((unit) =>
    unit.rows.toSorted(byRole).map(({ address, port, protocol, flags }) => ({
      address: shownAddress(address),
      port,
      protocol: PROTOCOL_NAME[protocol],
      family: unit.family,
      roles: rolesOf(flags),
      policies: [
        ...(flags & FRONTEND.INTERNAL_LOCAL ? ["internal-local"] : []),
        ...(flags & FRONTEND.EXTERNAL_LOCAL ? ["external-local"] : []),
      ],
      bindGuard: (flags & FRONTEND.BIND_GUARD) !== 0,
      service: unit.name || unit.key,
      id: unit.serviceId,
    })),
  );
}

export function backendRows(maps: MapPort, units: readonly UnitState[]): BackendRow[] {
  return units.flatMap((unit) =>
    [...unit.backendIds].map((id, i) => {
      const at = i * ENDPOINT_STRIDE;
      const flags = unit.endpoints[at + 18] ?? 0;
      return {
        address: formatAddress(unit.endpoints, at),
        port: ((unit.endpoints[at + 16] ?? 0) << 8) | (unit.endpoints[at + 17] ?? 0),
        protocol: PROTOCOL_NAME[unit.protocol],
        service: unit.name || unit.key,
        id,
        generation: maps.backendGeneration(id),
        sets: [...(flags & ENDPOINT.CLUSTER ? ["cluster"] : []), ...(flags & ENDPOINT.LOCAL ? ["local"] : [])],
        serving: (flags & ENDPOINT.SERVING) !== 0,
        connections: Number(maps.active(id)),
      };
    }),
  );
}
