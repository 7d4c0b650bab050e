// SPDX-License-Identifier: Apache-2.0
// kube-proxy's log verbosity (-v, logging.verbosity) and our log levels.

import type { Config } from "../schema.ts";

export type LogLevel = Config["logLevel"];

/** 0 to 3: info, 4 and 5: debug, 6 and more: trace. */
export function logLevelOf(verbosity: number): LogLevel {
  if (verbosity < 4) return "info";
  return verbosity < 6 ? "debug" : "trace";
}

/** The number that stands for a level: the one that was asked for, if it did. Nothing is quieter than 0. */
export function verbosityOf(level: LogLevel, asked: number): number {
  if (logLevelOf(asked) === level) return asked;
  return level === "debug" ? 4 : level === "trace" ? 6 : 0;
}
