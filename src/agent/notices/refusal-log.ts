// SPDX-License-Identifier: Apache-2.0
// Which refusals of the programmer are news? A unit that cannot be programmed is tried again with every change, and would
// fill the log.

import type { PendingUnit } from "../../program/status.ts";

export class RefusalLog {
  readonly #told = new Map<string, string>();

  /** Those not told yet with this reason. */
  news(refused: readonly PendingUnit[]): readonly PendingUnit[] {
    return refused.filter(({ key, reason }) => {
      if (this.#told.get(key) === reason) return false;
      this.#told.set(key, reason);
      return true;
    });
  }

  /** Nothing is pending any more: what fails from now on is news. */
  clear(): void {
    this.#told.clear();
  }
}
