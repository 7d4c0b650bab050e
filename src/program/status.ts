// SPDX-License-Identifier: Apache-2.0
// What the programmer says of itself to the command line and the metrics: plain values, JSON as they are.

import type { UnitState } from "./unit-state.ts";

export interface PendingUnit {
  readonly key: string;
  /** "namespace/name:port". */
  readonly name: string;
  /** What could not be done: program it (anew), or remove it. */
  readonly action: "program" | "remove";
  readonly reason: string;
  /** For want of room, not by a failed write. */
  readonly capacity: boolean;
  /** Unix milliseconds of the first refusal in a row. */
  readonly sinceMs: number;
}

export interface ApplyReport {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  /** Asked for and equal to what the kernel has. */
  readonly unchanged: number;
  /** Tried in this call and not done. */
  readonly refused: readonly PendingUnit[];
  readonly writes: number;
  /** The whole call, and its part after planning, in which the writes are. */
  readonly durationMs: number;
  readonly writeMs: number;
}

export interface MapFill {
  readonly used: number;
  readonly capacity: number;
}

/**
 * programmed: the kernel has what is asked for · pending: it has what it had before (nothing, for a new unit) ·
 * recovered: found in the maps at start, not asked for yet · removing: no longer asked for, rows are left.
 */
export type UnitCondition = "programmed" | "pending" | "recovered" | "removing";

export interface ProgrammerStatus {
  readonly units: number;
  readonly recovered: number;
  readonly endpoints: number;
  readonly pending: readonly PendingUnit[];
  readonly fill: Readonly<Record<"services" | "frontends" | "backends" | "slots" | "sourceRanges", MapFill>>;
  /** Backend ids that wait for their grace periods. */
  readonly quarantined: number;
  readonly writes: number;
  readonly graces: number;
  readonly applies: number;
  /** Unix milliseconds of the last apply; 0 before the first. */
  readonly lastApplyMs: number;
  readonly lastApplyDurationMs: number;
  /** Why something that is out of use could not be freed, or node addresses not written; null if all is well. */
  readonly failure: string | null;
}

export interface UnitStatus {
  readonly state: UnitState;
  readonly condition: UnitCondition;
  /** Why it is pending or not removed yet; null otherwise. */
  readonly reason: string | null;
}
