// SPDX-License-Identifier: Apache-2.0
// Frontend rows into and out of the map, many units in one batch. A unit whose row fails gets all its rows back as they
// were, without touching the other units of the batch.

import { FRONTEND } from "../datapath/layout.ts";
import type { FrontendRow, MapPort } from "../datapath/port.ts";
import { addressBytes } from "../model/address.ts";
import { anyPortRow, type FrontendTable, keyOf, type OwnedRow, rowFor } from "./frontend-table.ts";
import type { FrontendSpec, UnitState } from "./unit-state.ts";

/** Rows of one batch: bounds the time of a syscall. */
const BATCH = 4096;

/** One unit's part in a batch. */
export interface RowChange {
  readonly state: UnitState;
  /** Rows to write, internal first. */
  readonly puts: readonly FrontendSpec[];
  /** What stood where this change wrote, in that order. */
  readonly written: { readonly row: FrontendSpec; readonly before: OwnedRow | undefined }[];
  /** Why the unit is not programmed, in words. */
  failure: string | null;
  /** A row could not be put back: the unit keeps what it got until it is tried again. */
  stuck: boolean;
}

interface Put<T extends RowChange> {
  readonly change: T;
  readonly row: FrontendSpec;
}

export class RowWriter {
  readonly #port: MapPort;
  readonly #table: FrontendTable;

  constructor(port: MapPort, table: FrontendTable) {
    this.#port = port;
    this.#table = table;
  }

  /** Writes every change's rows, then the "any port" rows they need. Sets `failure` where that did not work. */
  put(changes: readonly RowChange[]): void {
    const queue: Put<RowChange>[] = [];
    for (const change of changes) for (const row of change.puts) queue.push({ change, row });
    this.#putUnits(queue);
    const needed = new Map<string, RowChange[]>();
    for (const change of changes) {
      if (change.failure !== null) continue;
      for (const address of this.#table.missingAnyPort(change.state.rows)) {
        const sharing = needed.get(address);
        if (sharing === undefined) needed.set(address, [change]);
        else sharing.push(change);
      }
    }
    this.#putAnyPorts([...needed]);
  }

  /** Deletes rows of a unit, external first. Returns why some are left, or null. */
  remove(rows: readonly FrontendSpec[]): string | null {
    let failure: string | null = null;
    for (const row of rows.toReversed().sort((a, b) => clusterIp(a) - clusterIp(b))) {
      try {
        this.#port.deleteFrontend(keyOf(row));
        this.#table.forget(row.key);
      } catch (error) {
        failure = `frontend ${row.key} not deleted: ${(error as Error).message}`;
      }
    }
    return failure;
  }

  /** Deletes the "any port" rows of addresses that no ClusterIP row has any more. Returns why some are left, or null. */
  removeIdleAnyPorts(): string | null {
    let failure: string | null = null;
    for (const address of this.#table.unusedAnyPort()) {
      try {
        this.#port.deleteFrontend({ address: addressBytes(address), port: 0, protocol: 0 });
        this.#table.forgetAnyPort(address);
      } catch (error) {
        failure = `any-port row of ${address} not deleted: ${(error as Error).message}`;
      }
    }
    return failure;
  }

  /** Puts everything back that this change wrote. */
  revert(change: RowChange, failure: string): void {
    change.failure = failure;
    for (const { row, before } of change.written.toReversed()) {
      try {
        if (before === undefined) {
          this.#port.deleteFrontend(keyOf(row));
          this.#table.forget(row.key);
        } else {
          this.#port.putFrontend(rowFor(before.row, before.owner.serviceId));
          this.#table.record(before.row, before.owner);
        }
      } catch (error) {
        change.stuck = true;
        change.failure = `${failure}; frontend ${row.key} not restored: ${(error as Error).message}`;
      }
    }
    change.written.length = 0;
  }

  #putUnits(queue: readonly Put<RowChange>[]): void {
    for (let at = 0; at < queue.length; ) {
      const part = queue.slice(at, at + BATCH);
      const { written, failure } = this.#tryPut(part.map(({ row, change }) => rowFor(row, change.state.serviceId)));
      for (const { row, change } of part.slice(0, written)) {
        change.written.push({ row, before: this.#table.record(row, change.state) });
      }
      at += written;
      const next = part[written];
      if (written > 0 || next === undefined) continue;
      this.revert(next.change, failure ?? `frontend ${next.row.key}: pt_frontends is full`);
      while (queue[at]?.change === next.change) at++;
    }
  }

  #putAnyPorts(needed: readonly (readonly [string, readonly RowChange[]])[]): void {
    for (let at = 0; at < needed.length; ) {
      const part = needed.slice(at, at + BATCH);
      const { written, failure } = this.#tryPut(part.map(([address]) => anyPortRow(address)));
      for (const [address] of part.slice(0, written)) this.#table.recordAnyPort(address);
      at += written;
      const next = part[written];
      if (written > 0 || next === undefined) continue;
      at++;
      for (const change of next[1]) {
        if (change.failure === null) this.revert(change, failure ?? `any-port row of ${next[0]}: pt_frontends is full`);
      }
    }
  }

  /** How many of the first rows were written. None: `failure` says why the first was not, null if the map is full. */
  #tryPut(rows: readonly FrontendRow[]): { written: number; failure: string | null } {
    try {
      const [first] = rows;
      if (rows.length > 1 || first === undefined) return { written: this.#port.putFrontends(rows), failure: null };
      this.#port.putFrontend(first);
      return { written: 1, failure: null };
    } catch (error) {
      return { written: 0, failure: isFull(error) ? null : (error as Error).message };
    }
  }
}

/** Whether a write failed because the map has no room, by the errno of a BpfError. */
export function isFull(error: unknown): boolean {
  const { code } = error as { readonly code?: string };
  return code === "E2BIG" || code === "ENOSPC";
}

function clusterIp(row: FrontendSpec): number {
  return row.flags & FRONTEND.CLUSTER_IP;
}
