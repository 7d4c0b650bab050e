// SPDX-License-Identifier: Apache-2.0
// What is wrong now, by subject: what the source rejected and what compile refused. Each is logged when it appears.

import type { Logger } from "pino";
import type { Problem, ServiceKey } from "../../model/types.ts";

export class Problems {
  readonly #log: Logger;
  readonly #onNew: (problem: Problem) => void;
  readonly #bySubject = new Map<string, readonly Problem[]>();

  /** `onNew` is told of each problem when it appears. */
  constructor(log: Logger, onNew: (problem: Problem) => void = () => undefined) {
    this.#log = log;
    this.#onNew = onNew;
  }

  /** What the source says of one object or file. An empty list clears. */
  fromSource(kind: Problem["kind"], key: string, problems: readonly Problem[]): void {
    this.#set(`source ${kind} ${key}`, problems);
  }

  /** What compile says of one Service. */
  fromCompile(service: ServiceKey, problems: readonly Problem[]): void {
    this.#set(`compile ${service}`, problems);
  }

  all(): Problem[] {
    return [...this.#bySubject.values()].flat();
  }

  /** How many there are, by kind of object. */
  counts(): ReadonlyMap<Problem["kind"], number> {
    const counts = new Map<Problem["kind"], number>();
    for (const { kind } of [...this.#bySubject.values()].flat()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  #set(subject: string, problems: readonly Problem[]): void {
    const known = new Set((this.#bySubject.get(subject) ?? []).map(textOf));
    if (problems.length === 0) {
      if (this.#bySubject.delete(subject)) this.#log.info({ subject }, "problem solved");
      return;
    }
    this.#bySubject.set(subject, problems);
    for (const problem of problems.filter((problem) => !known.has(textOf(problem)))) {
      this.#log.warn(problem, "not accepted");
      this.#onNew(problem);
    }
  }
}

const textOf = ({ kind, key, field, reason }: Problem): string => JSON.stringify([kind, key, field, reason]);
