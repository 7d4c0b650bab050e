// SPDX-License-Identifier: Apache-2.0
// What is wrong now, by subject: what the source rejected and what compile refused. Each is logged when it appears.

import type { Logger } from "pino";
import type { Problem, ServiceKey } from "../model/types.ts";

export class Problems {
  readonly #log: Logger;
  readonly #bySubject = new Map<string, readonly Problem[]>();

  constructor(log: Logger) {
    this.#log = log;
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

  #set(subject: string, problems: readonly Problem[]): void {
    const known = new Set((this.#bySubject.get(subject) ?? []).map(textOf));
    if (problems.length === 0) {
      if (this.#bySubject.delete(subject)) this.#log.info({ subject }, "problem solved");
      return;
    }
    this.#bySubject.set(subject, problems);
    for (const problem of problems) if (!known.has(textOf(problem))) this.#log.warn(problem, "not accepted");
  }
}

const textOf = ({ kind, key, field, reason }: Problem): string => JSON.stringify([kind, key, field, reason]);
