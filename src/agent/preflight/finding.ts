// SPDX-License-Identifier: Apache-2.0
// What a look at the node came to: the lines of `portolan preflight`, and the reasons not to start.

/** One line of preflight. */
export interface Finding {
  readonly check: string;
  /**
   * "refused": no start. "strict": no start under --replacement strict, a warning under probe. "warning": nothing that
   * hinders.
   */
  readonly result: "ok" | "warning" | "strict" | "refused";
  readonly found: string;
  readonly why: string;
  /** Null where there is nothing to mend. */
  readonly mend: string | null;
}

/** A finding that is no "ok", in one line. */
export const findingText = ({ check, found, mend }: Finding): string =>
  `${check}: ${found}${mend === null ? "" : ` — ${mend}`}`;
