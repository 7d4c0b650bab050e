// SPDX-License-Identifier: Apache-2.0
// The agent's log: JSON lines for machines, kube-proxy's text form where it is asked for, coloured lines on a terminal.

import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import { logLevelOf } from "../../config/kube-proxy/verbosity.ts";
import type { Config } from "../../config/schema.ts";
import { klogLine } from "./klog-line.ts";

const STDOUT = 1;

/** Lines that wait for a full disk to have room again; more are lost. */
const MAX_UNWRITTEN = 1 << 20;

/**
 * Writes to standard output, synchronously: nothing is lost when the process ends. Where it cannot be written, the
 * Services are served all the same.
 */
export async function openLog({ logLevel, logFormat }: Pick<Config, "logLevel" | "logFormat">): Promise<Logger> {
  const options = {
    level: logLevel,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const destination = pino.destination({ dest: STDOUT, sync: true, maxLength: MAX_UNWRITTEN });
  destination.on("error", () => undefined);
  if (logFormat === "text") return pino(options, { write: (line) => destination.write(klogLine(line, process.pid)) });
  if (logFormat === "json" || !isatty(STDOUT)) return pino(options, destination);
  const { default: pretty } = await import("pino-pretty");
  return pino(options, pretty({ colorize: true, translateTime: "SYS:HH:MM:ss.l", singleLine: true, destination }));
}

/** Changes what a running agent logs, in kube-proxy's numbers: 0 to 3 info, 4 and 5 debug, from 6 on trace. */
export function setVerbosity(log: Logger, verbosity: number): void {
  log.level = logLevelOf(verbosity);
}
