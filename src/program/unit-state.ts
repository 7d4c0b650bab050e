// SPDX-License-Identifier: Apache-2.0
// One unit as the kernel has it: its ids, endpoints, extents and frontend rows. Changed only together with the maps.

import { extentWord } from "../datapath/extent.ts";
import { ALGORITHM, BACKEND } from "../datapath/layout.ts";
import type { Family, Protocol } from "../model/types.ts";

/** What one extent word says. */
export interface Extent {
  readonly base: number;
  readonly count: number;
  readonly algorithm: number;
  /** Slots from base + count to base + limit are ours and were never published: appending there needs no new run. */
  readonly limit: number;
}

export const REJECTED: Extent = { base: 0, count: 0, algorithm: ALGORITHM.REJECT, limit: 0 };
export const DROPPED: Extent = { base: 0, count: 0, algorithm: ALGORITHM.DROP, limit: 0 };

/** A word that no plan writes: whatever stands there is not ours to free and is replaced by the next plan. */
export const DAMAGED: Extent = { base: 0, count: 0, algorithm: 0xff, limit: 0 };

export function wordOf(extent: Extent): bigint {
  return extentWord(extent.base, extent.count, extent.algorithm);
}

export function sameWord(a: Extent, b: Extent): boolean {
  return a.base === b.base && a.count === b.count && a.algorithm === b.algorithm;
}

/** One of a service's two extents; its bit in ENDPOINT and BACKEND flags. */
export const SETS = { cluster: BACKEND.CLUSTER, local: BACKEND.LOCAL } as const;
export type SetName = keyof typeof SETS;
export const SET_NAMES = ["cluster", "local"] as const satisfies readonly SetName[];

/** A row of pt_frontends that belongs to a unit. */
export interface FrontendSpec {
  /** Unique: "address|port|protocol", a NodePort's address being the family's zero address. */
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** layout.ts FRONTEND. */
  readonly flags: number;
}

export interface UnitState {
  /** unitKey(); "#ID" for rows that lead to a service id without a name. */
  readonly key: string;
  readonly serviceId: number;
  readonly name: string;
  readonly family: Family;
  readonly protocol: Protocol;
  /** As Unit.endpoints: those the kernel has. */
  endpoints: Uint8Array;
  /** Parallel to endpoints. A plain array: one of a type costs 300 bytes more in each of tens of thousands of units. */
  backendIds: readonly number[];
  readonly extents: Record<SetName, Extent>;
  /** Bits of SETS whose extent does not hold what the endpoints' flags say, after a crash or damage: written afresh. */
  stale: number;
  affinitySec: number;
  /** Prefixes in pt_src_ranges, as UnitRanges.prefixes. */
  ranges: readonly string[];
  rows: readonly FrontendSpec[];
  /** Found in the maps at start and not asked for since. */
  unclaimed: boolean;
}
