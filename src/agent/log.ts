// SPDX-License-Identifier: Apache-2.0
// The agent's log: JSON lines for machines, readable lines on a terminal.

import { isatty } from "node:tty";
import { type Logger, pino } from "pino";

const STDOUT = 1;

/** Lines that wait for a full disk to have room again; more are lost. */
const MAX_UNWRITTEN = 1 << 20;

/**
 * Writes to standard output, synchronously: nothing is lost when the process ends. Where it cannot be written, the
 * Services are served all the same.
 */
export async function openLog(level: string): Promise<Logger> {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const destination = pino.destination({ dest: STDOUT, sync: true, maxLength: MAX_UNWRITTEN });
  destination.on("error", () => undefined);
  if (!isatty(STDOUT)) return pino(options, destination);
  const { default: pretty } = await import("pino-pretty");
  return pino(options, pretty({ colorize: true, translateTime: "SYS:HH:MM:ss.l", singleLine: true, destination }));
}
