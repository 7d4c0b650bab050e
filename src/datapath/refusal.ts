// SPDX-License-Identifier: Apache-2.0
// Why portolan does not start: states that somebody has to mend first, as opposed to failures.

/** Starting would do harm or half the work. Each reason says what was found and how to mend it. Exit status 78. */
export class Refusal extends Error {
  readonly reasons: readonly string[];

  constructor(reasons: readonly string[]) {
    super(reasons.join("\n"));
    this.name = "Refusal";
    this.reasons = reasons;
  }
}

/** Another agent holds the pin directory. Exit status 1. */
export class AgentRunning extends Error {
  /** Null where /proc/locks does not show it: in another pid namespace. */
  readonly pid: number | null;

  constructor(dir: string, pid: number | null) {
    super(
      `another portolan agent (${pid === null ? "pid not visible from here" : `pid ${pid}`}) holds ${dir}: stop it first`,
    );
    this.name = "AgentRunning";
    this.pid = pid;
  }
}
