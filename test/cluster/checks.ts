// SPDX-License-Identifier: Apache-2.0
// Named checks, a line each: ok and what was seen, or FAIL and why. A failed check stops nothing; the count tells.

import { CommandError } from "../support/daemon.ts";

export class Checks {
  #passed = 0;
  #failed = 0;

  get failed(): number {
    return this.#failed;
  }

  get total(): string {
    return `${this.#passed} passed, ${this.#failed} failed`;
  }

  /** `look` gives what was seen, or throws why it is wrong. */
  async check(name: string, look: () => Promise<string>): Promise<void> {
    try {
      const seen = await look();
      this.#passed++;
      console.log(`ok    ${name}: ${seen}`);
    } catch (error) {
      this.#failed++;
      console.log(`FAIL  ${name}: ${reason(error).replaceAll("\n", "\n      ")}`);
    }
  }
}

/** Of a command what it said, not how it was called. */
function reason(error: unknown): string {
  return (error instanceof CommandError && error.stderr.trim()) || (error as Error).message;
}

/** Throws if it does not hold; `otherwise` says what was seen instead. */
export function demand(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}
