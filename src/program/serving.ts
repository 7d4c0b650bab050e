// SPDX-License-Identifier: Apache-2.0
// Which flows have lost their endpoint: kube-proxy's rule for UDP. What was called must be a frontend of a unit today,
// the endpoint not one of those that serve it, and at least one must serve: with none, flows stay where they are.
// Terminating endpoints that serve count; policy and topology do not. And a call that policy let lead nowhere, for want of
// an endpoint on this node, has to be made anew when there is one.

import { ENDPOINT_STRIDE } from "../compile/unit.ts";
import { type Flow, type FlowQuery, sameAddress } from "../datapath/flows.ts";
import { BACKEND, FRONTEND } from "../datapath/layout.ts";
import { formatAddress } from "../model/address.ts";
import type { Protocol } from "../model/types.ts";
import type { RowChange } from "./row-writer.ts";
import { flagsAt, type SetPlan } from "./set-plan.ts";
import type { FrontendSpec, UnitState } from "./unit-state.ts";
import type { SetChange } from "./unit-writer.ts";

/** A unit changed so that flows may have to move: endpoints serve no more, or calls that led nowhere are answered. */
export interface ServingChange {
  readonly unit: UnitState;
  /** Ids of those that serve no more; empty if there are none. */
  readonly lostIds: readonly number[];
}

/** Who has the row that a call to this address and port is decided by. */
export type FindOwner = (address: string, port: number, protocol: Protocol) => UnitState | undefined;

/** Null: no flow of the unit has to move. Asked with its rows written, before the sets become its state. */
export function servingChange(change: Pick<SetChange & RowChange, "state" | "sets" | "written">): ServingChange | null {
  const { state, sets } = change;
  const lostIds = sets === null ? NONE : lostIdsOf(sets);
  const isAnsweredAnew = (sets !== null && hasFirst(state, sets)) || change.written.some(isNotLocalAnyMore);
  return lostIds.length > 0 || isAnsweredAnew ? { unit: state, lostIds } : null;
}

const NONE: readonly number[] = [];

function lostIdsOf({ changed, removedIds }: SetPlan): readonly number[] {
  if (changed.length === 0) return removedIds;
  const lowered = changed.filter(({ before, after }) => (before & ~after & BACKEND.SERVING) !== 0);
  return [...removedIds, ...lowered.map(({ id }) => id)];
}

/** Whether the first endpoint serves, or the first one here for frontends that lead to no other. */
function hasFirst({ endpoints, rows }: UnitState, sets: SetPlan): boolean {
  if (!anyServes(endpoints) && anyServes(sets.endpoints)) return true;
  const { before, after } = sets.extents.local;
  return before.count === 0 && after.count > 0 && rows.some(isLocal);
}

const isLocal = ({ flags }: FrontendSpec): boolean => (flags & FRONTEND.INTERNAL_LOCAL) !== 0;

const isNotLocalAnyMore = ({ row, before }: RowChange["written"][number]): boolean =>
  before !== undefined && isLocal(before.row) && !isLocal(row);

/** Whether one of these endpoints serves. */
export function anyServes(endpoints: Uint8Array): boolean {
  for (let i = 0; i * ENDPOINT_STRIDE < endpoints.length; i++) if (serves(endpoints, i)) return true;
  return false;
}

const serves = (endpoints: Uint8Array, index: number): boolean => (flagsAt(endpoints, index) & BACKEND.SERVING) !== 0;

/** Finds the flows of some units whose endpoint serves no more. Holds as long as the units do not change. */
export class StrandedFlows implements FlowQuery {
  readonly #units: ReadonlySet<UnitState>;
  readonly #ownerOf: FindOwner;
  /** Protocols and ports of the units' frontends. */
  readonly #ports = new Set<number>();

  /** Units without a serving endpoint are left out. */
  constructor(units: Iterable<UnitState>, ownerOf: FindOwner) {
    this.#units = new Set([...units].filter(({ endpoints }) => anyServes(endpoints)));
    this.#ownerOf = ownerOf;
    for (const unit of this.#units) for (const { protocol, port } of unit.rows) this.#ports.add(code(protocol, port));
  }

  /** Whether any flow could be found at all. */
  get isEmpty(): boolean {
    return this.#ports.size === 0;
  }

  concerns(protocol: number, frontendPort: number): boolean {
    return this.#ports.has(code(protocol, frontendPort));
  }

  matches(flow: Flow): boolean {
    const owner = ownerOfFlow(flow, this.#ownerOf);
    if (owner === undefined || !this.#units.has(owner)) return false;
    return hasToMove(flow, owner);
  }
}

/** Whether the flow's endpoint serves no more while another one does, by the units as they are now. */
export function isStranded(flow: Flow, ownerOf: FindOwner): boolean {
  const owner = ownerOfFlow(flow, ownerOf);
  return owner !== undefined && hasToMove(flow, owner);
}

function hasToMove(flow: Flow, owner: UnitState): boolean {
  const { backendAddress, backendPort, frontendAddress, frontendPort } = flow;
  if (!isLost(owner.endpoints, backendAddress, backendPort)) return false;
  const ledNowhere = backendPort === frontendPort && sameAddress(backendAddress, frontendAddress);
  return !ledNowhere || isAnswered(owner, formatAddress(frontendAddress), frontendPort);
}

/** Whether a call to this frontend of the unit is led to an endpoint, whoever calls. */
function isAnswered({ rows, extents }: UnitState, address: string, port: number): boolean {
  const row = rows.find((one) => one.address === address && one.port === port);
  if (row === undefined || (row.flags & FRONTEND.SOURCE_RANGES) !== 0) return false;
  return extents[isLocal(row) ? "local" : "cluster"].count > 0;
}

const ownerOfFlow = ({ frontendAddress, frontendPort, protocol }: Flow, ownerOf: FindOwner): UnitState | undefined =>
  ownerOf(formatAddress(frontendAddress), frontendPort, protocol);

/** Whether others serve, and this one does not. */
export function isLost(endpoints: Uint8Array, address: Uint8Array, port: number): boolean {
  return anyServes(endpoints) && !isServedBy(endpoints, address, port);
}

const code = (protocol: number, port: number): number => (protocol << 16) | port;

/** Endpoints ascend by address and port. */
function isServedBy(endpoints: Uint8Array, address: Uint8Array, port: number): boolean {
  let [low, high] = [0, endpoints.length / ENDPOINT_STRIDE];
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compare(endpoints, middle, { address, port });
    if (order === 0) return serves(endpoints, middle);
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}

function compare(endpoints: Uint8Array, index: number, to: { address: Uint8Array; port: number }): number {
  const at = index * ENDPOINT_STRIDE;
  for (let i = 0; i < 16; i++) {
    const difference = (endpoints[at + i] ?? 0) - (to.address[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return (((endpoints[at + 16] ?? 0) << 8) | (endpoints[at + 17] ?? 0)) - to.port;
}
