// SPDX-License-Identifier: Apache-2.0
// One apply() in the making, and what is left of earlier ones that could not be done.

import type { Unit } from "../compile/unit.ts";
import { nothingRetired, type Retired } from "./grace.ts";
import type { Change } from "./planner.ts";
import type { ServingChange } from "./serving.ts";
import type { PendingUnit } from "./status.ts";

/** A unit that could not be programmed, or not be removed. */
export interface Pending {
  /** null: it is to be removed. */
  readonly unit: Unit | null;
  readonly name: string;
  readonly reason: string;
  /** Worth another try only after something was freed. */
  readonly full: boolean;
  readonly sinceMs: number;
}

/** One apply() in the making. */
export interface Round {
  readonly changes: Change[];
  readonly refused: PendingUnit[];
  /** What was in use and is not, and what was tried in vain. */
  readonly retired: Retired;
  readonly reverted: Retired;
  readonly serving: ServingChange[];
  added: number;
  changed: number;
  removed: number;
  unchanged: number;
}

export function newRound(): Round {
  return {
    changes: [],
    refused: [],
    retired: nothingRetired(),
    reverted: nothingRetired(),
    serving: [],
    added: 0,
    changed: 0,
    removed: 0,
    unchanged: 0,
  };
}

export function pendingUnit(key: string, { unit, name, reason, full, sinceMs }: Pending): PendingUnit {
  return { key, name, action: unit === null ? "remove" : "program", reason, capacity: full, sinceMs };
}
