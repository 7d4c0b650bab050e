// SPDX-License-Identifier: Apache-2.0
// Who owns which row of pt_frontends. A row moves to another unit by overwriting its value, so ownership is kept for
// the whole map: nobody may delete a row that has become someone else's. Also counts what each "any port" row is for.

import type { Frontend, FrontendRole, Unit, UnitRanges } from "../compile/unit.ts";
import { FRONTEND } from "../datapath/layout.ts";
import type { FrontendKey, FrontendRow } from "../datapath/port.ts";
import { addressBytes, familyOfText, formatAddress } from "../model/address.ts";
import type { Family, Protocol } from "../model/types.ts";
import type { FrontendSpec, UnitState } from "./unit-state.ts";

/** Whether FRONTEND.BIND_GUARD is set: no process of the host may bind this port. */
export type BindGuard = (role: FrontendRole, port: number) => boolean;

/** In the order they are added: internal first. */
const ROLE_FLAG: Readonly<Record<FrontendRole, number>> = {
  clusterIP: FRONTEND.CLUSTER_IP,
  externalIP: FRONTEND.EXTERNAL_IP,
  loadBalancer: FRONTEND.LOAD_BALANCER,
  nodePort: FRONTEND.NODE_PORT,
};

const ROLES = Object.keys(ROLE_FLAG) as FrontendRole[];

/** Zero address of a family: the wildcard that a NodePort is looked up by. */
const WILDCARD: Readonly<Record<Family, string>> = { 4: "0.0.0.0", 6: "::" };

function rowKey(address: string, port: number, protocol: Protocol | 0): string {
  return [address, port, protocol].join("|");
}

/** The roles that a row's flags name, internal first. */
export function rolesOf(flags: number): FrontendRole[] {
  return ROLES.filter((role) => (flags & ROLE_FLAG[role]) !== 0);
}

/** A unit's rows, internal first. Two roles on one address and port are one row with both roles' flags. */
export function rowsOf(unit: Unit, bindGuard: BindGuard): FrontendSpec[] {
  const [only] = unit.frontends;
  if (only !== undefined && unit.frontends.length === 1) return [rowOf(unit, only, bindGuard)];
  const rows = new Map<string, FrontendSpec>();
  for (const role of ROLES) {
    for (const frontend of unit.frontends) {
      if (frontend.role !== role) continue;
      const row = rowOf(unit, frontend, bindGuard);
      const before = rows.get(row.key)?.flags ?? 0;
      rows.set(row.key, { ...row, flags: before | row.flags });
    }
  }
  return [...rows.values()];
}

function rowOf({ family, protocol, sourceRanges }: Unit, frontend: Frontend, bindGuard: BindGuard): FrontendSpec {
  const { role, port } = frontend;
  const address = role === "nodePort" ? WILDCARD[family] : frontend.address;
  const ranges = role === "loadBalancer" && sourceRanges ? rangeFlags(sourceRanges) : 0;
  const flags = flagsOf(frontend, bindGuard) | ranges;
  return { key: rowKey(address, port, protocol), address, port, protocol, flags };
}

function flagsOf(frontend: Frontend, bindGuard: BindGuard): number {
  let flags = ROLE_FLAG[frontend.role];
  if (frontend.internalLocal) flags |= FRONTEND.INTERNAL_LOCAL;
  if (frontend.externalLocal) flags |= FRONTEND.EXTERNAL_LOCAL;
  if (bindGuard(frontend.role, frontend.port)) flags |= FRONTEND.BIND_GUARD;
  return flags;
}

/** Who may call a load balancer address, as far as a row says it. */
function rangeFlags(ranges: UnitRanges): number {
  const host = ranges.allowHost ? FRONTEND.ALLOW_HOST : 0;
  return FRONTEND.SOURCE_RANGES | host | (ranges.allowPods ? FRONTEND.ALLOW_PODS : 0);
}

export function keyOf(row: FrontendSpec): FrontendKey {
  return { address: addressBytes(row.address), port: row.port, protocol: row.protocol };
}

export function rowFor(row: FrontendSpec, serviceId: number): FrontendRow {
  return { address: addressBytes(row.address), port: row.port, protocol: row.protocol, serviceId, flags: row.flags };
}

/** The row by which every other port of a ClusterIP is refused. */
export function anyPortRow(address: string): FrontendRow {
  return { address: addressBytes(address), port: 0, protocol: 0, serviceId: 0, flags: FRONTEND.ANY_PORT };
}

/** A row as read from the map, or null for an "any port" row. */
export function specOf(row: FrontendRow): FrontendSpec | null {
  if (row.protocol === 0) return null;
  const address = formatAddress(row.address);
  const { port, protocol, flags } = row;
  return { key: rowKey(address, port, protocol), address, port, protocol, flags };
}

const NONE: readonly string[] = [];

export interface OwnedRow {
  readonly row: FrontendSpec;
  readonly owner: UnitState;
}

export class FrontendTable {
  readonly #rows = new Map<string, OwnedRow>();
  /** ClusterIP rows by address. */
  readonly #clusterIps = new Map<string, number>();
  readonly #anyPort = new Set<string>();
  readonly #idleAnyPort = new Set<string>();

  /** Rows in the map, "any port" rows included. */
  get size(): number {
    return this.#rows.size + this.#anyPort.size;
  }

  rows(): Iterable<OwnedRow> {
    return this.#rows.values();
  }

  /** Addresses with an "any port" row. */
  anyPorts(): Iterable<string> {
    return this.#anyPort;
  }

  hasAnyPort(address: string): boolean {
    return this.#anyPort.has(address);
  }

  get(key: string): OwnedRow | undefined {
    return this.#rows.get(key);
  }

  /** The unit that a call to this address and port meets: by a row of its own, or as a NodePort. */
  ownerOf(address: string, port: number, protocol: Protocol): UnitState | undefined {
    const wildcard = WILDCARD[familyOfText(address)];
    return (this.#rows.get(rowKey(address, port, protocol)) ?? this.#rows.get(rowKey(wildcard, port, protocol)))?.owner;
  }

  /** The row was written for `owner`, whoever had it before: that is answered. */
  record(row: FrontendSpec, owner: UnitState): OwnedRow | undefined {
    const before = this.#rows.get(row.key);
    if (before !== undefined) this.#drop(before);
    this.#rows.set(row.key, { row, owner });
    // An array of its exact length: one that grew by push, or was spread, keeps room for 16 more, in every unit.
    owner.rows = owner.rows.concat(row);
    this.#count(row, 1);
    return before;
  }

  /** The row was deleted. */
  forget(key: string): void {
    const before = this.#rows.get(key);
    if (before === undefined) return;
    this.#drop(before);
    this.#rows.delete(key);
  }

  /** Addresses among these rows that need an "any port" row and have none. */
  missingAnyPort(rows: readonly FrontendSpec[]): readonly string[] {
    let missing = NONE;
    for (const { flags, address } of rows) {
      // A unit has one ClusterIP.
      if ((flags & FRONTEND.CLUSTER_IP) !== 0 && !this.#anyPort.has(address)) missing = missing.concat(address);
    }
    return missing;
  }

  /** Addresses whose "any port" row has nothing left to stand for. */
  unusedAnyPort(): string[] {
    return [...this.#idleAnyPort];
  }

  recordAnyPort(address: string): void {
    this.#anyPort.add(address);
    if (!this.#clusterIps.has(address)) this.#idleAnyPort.add(address);
  }

  forgetAnyPort(address: string): void {
    this.#anyPort.delete(address);
    this.#idleAnyPort.delete(address);
  }

  #drop({ row, owner }: OwnedRow): void {
    owner.rows = owner.rows.filter((other) => other.key !== row.key);
    this.#count(row, -1);
  }

  #count(row: FrontendSpec, change: number): void {
    if ((row.flags & FRONTEND.CLUSTER_IP) === 0) return;
    const uses = (this.#clusterIps.get(row.address) ?? 0) + change;
    if (uses > 0) {
      this.#clusterIps.set(row.address, uses);
      this.#idleAnyPort.delete(row.address);
      return;
    }
    this.#clusterIps.delete(row.address);
    if (this.#anyPort.has(row.address)) this.#idleAnyPort.add(row.address);
  }
}
