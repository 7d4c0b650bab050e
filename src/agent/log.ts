// SPDX-License-Identifier: Apache-2.0
// The agent's log: JSON lines for machines, readable lines on a terminal.

import { isatty } from "node:tty";
import { type Logger, pino } from "pino";

const STDOUT = 1;

/** Writes to standard output, synchronously: nothing is lost when the process ends. */
export async function openLog(level: string): Promise<Logger> {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (!isatty(STDOUT)) return pino(options, pino.destination({ dest: STDOUT, sync: true }));
  const { default: pretty } = await import("pino-pretty");
  return pino(
    options,
    pretty({ colorize: true, translateTime: "SYS:HH:MM:ss.l", singleLine: true, destination: STDOUT, sync: true }),
  );
}
