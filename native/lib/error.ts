// SPDX-License-Identifier: Apache-2.0
// The one error that every failing call throws.
import { getSystemErrorMap } from "node:util";

export interface BpfErrorInit {
  operation: string;
  errno: number;
  code: string;
  log?: string | null;
  count?: number | null;
}

/** The line of a log that says why: the verifier's verdict stands just before its statistics, else the last line. */
function reasonLine(log: string): string | undefined {
  const lines = log.trimEnd().split("\n");
  const statistics = lines.findLastIndex((line) => /^processed \d+ insns/.test(line));
  return lines.at(statistics > 0 ? statistics - 1 : -1);
}

function describe(init: BpfErrorInit): string {
  const text = getSystemErrorMap().get(-init.errno)?.[1];
  const summary = `${init.operation}: ${init.code}${text === undefined ? "" : `, ${text}`}`;
  const reason = reasonLine(init.log ?? "");
  return reason ? `${summary} (${reason})` : summary;
}

/**
 * A failed system call or libbpf call. `errno` is positive, `code` its name ("ENOSPC"), `log` what libbpf had to say,
 * with the verifier's whole log after a failed load. `count`: how many elements a batch had done before it failed.
 */
export class BpfError extends Error {
  readonly operation: string;
  readonly errno: number;
  readonly code: string;
  readonly log: string | null;
  readonly count: number | null;

  constructor(init: BpfErrorInit) {
    super(describe(init));
    this.name = "BpfError";
    this.operation = init.operation;
    this.errno = init.errno;
    this.code = init.code;
    this.log = init.log ?? null;
    this.count = init.count ?? null;
  }
}
