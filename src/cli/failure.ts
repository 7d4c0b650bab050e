// SPDX-License-Identifier: Apache-2.0
// What an error means to whoever ran a command: words and an exit status.

import { BpfError } from "libbpf-ts";
import { AgentSilent } from "../agent/control-client.ts";
import { ConfigError } from "../config/problem.ts";
import { AgentRunning, Refusal } from "../datapath/refusal.ts";
import { ConntrackError } from "../node/conntrack-settings.ts";
import { NodeError } from "../node/node-error.ts";
import { SourceConfigError } from "../source/config-error.ts";
import { IncompletePins, NothingPinned } from "./pinned.ts";
import { EXIT } from "./usage.ts";

/** Complete sentences for whoever called. */
const TOLD = [
  ConfigError,
  ConntrackError,
  SourceConfigError,
  NodeError,
  AgentRunning,
  AgentSilent,
  NothingPinned,
  IncompletePins,
  BpfError,
];

/** Errors that say all there is to say; for any other the stack helps. */
export function describeFailure(error: unknown): { readonly text: string; readonly status: number } {
  if (error instanceof Refusal) {
    const lines = error.reasons.map((reason) => `  - ${reason}`);
    return { text: `portolan: refused:\n${lines.join("\n")}`, status: EXIT.REFUSED };
  }
  if (TOLD.some((kind) => error instanceof kind)) {
    return { text: `portolan: ${(error as Error).message}${hintFor(error)}`, status: EXIT.FAILED };
  }
  if (error instanceof Error && "code" in error && "syscall" in error) {
    return { text: `portolan: ${error.message}${hintFor(error)}`, status: EXIT.FAILED };
  }
  return { text: `portolan: ${error instanceof Error ? (error.stack ?? error.message) : error}`, status: EXIT.FAILED };
}

/** What nearly always mends it. */
function hintFor(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return (code === "EACCES" || code === "EPERM") && process.getuid?.() !== 0 ? ": run it as root" : "";
}
