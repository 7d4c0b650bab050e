// SPDX-License-Identifier: Apache-2.0
// The checks of a scenario's steps, in one world or in several at once. What does not agree is tried again with more
// patience: a machine under load may keep an answer waiting, a wrong answer stays.

import { setTimeout as sleep } from "node:timers/promises";
import type { Check } from "./checks.ts";
import { type AffinityMemory, type Patience, tryCheck } from "./outcome.ts";
import type { World } from "./world.ts";

const PATIENCE: readonly Patience[] = [300, 1_500, 2_500, 10_000].map((timeoutMs) => ({ timeoutMs }));
const PAUSE_MS = 200;

/** One world's part in a scenario. */
export class Trial {
  readonly #world: World;
  #memory: AffinityMemory = { before: new Map(), now: new Map() };

  constructor(world: World) {
    this.#world = world;
  }

  /** A new step: affinity goes on from the one before. */
  begin(): void {
    this.#memory = { before: this.#memory.now, now: new Map() };
  }

  /** Outcomes in the order of `checks`. */
  async run(checks: readonly Check[], patience: Patience): Promise<string[]> {
    const outcomes = new Map<Check, string>();
    const tried = async (check: Check): Promise<void> => {
      outcomes.set(check, await tryCheck(this.#world, check, this.#memory, patience));
    };
    // Affinity is a matter of order: two first calls at once may end in two places.
    const inOrder = ({ sticks, affine, style, expected }: Check): boolean =>
      Array.isArray(expected) && (affine || (sticks && style === "connect"));
    const [ordered, free] = [checks.filter(inOrder), checks.filter((check) => !inOrder(check))];
    const one = async (): Promise<void> => {
      for (const check of ordered) await tried(check);
    };
    await Promise.all([one(), ...free.map(tried)]);
    return checks.map((check) => outcomes.get(check) ?? "");
  }
}

/** Makes the checks of a step in every world; gives each check's outcomes, in the order of `trials`. */
export async function runStep(
  trials: readonly Trial[],
  checks: readonly Check[],
  agreed: (check: Check, outcomes: readonly string[]) => boolean,
): Promise<Map<Check, readonly string[]>> {
  const outcomes = new Map<Check, readonly string[]>();
  for (const trial of trials) trial.begin();
  let open = checks;
  for (const [attempt, patience] of PATIENCE.entries()) {
    if (attempt > 0) await sleep(PAUSE_MS);
    const tried = await Promise.all(trials.map((trial) => trial.run(open, patience)));
    for (const [index, check] of open.entries())
      outcomes.set(
        check,
        tried.map((one) => one[index] ?? ""),
      );
    open = open.filter((check) => !agreed(check, outcomes.get(check) ?? []));
    if (open.length === 0) break;
  }
  return outcomes;
}
