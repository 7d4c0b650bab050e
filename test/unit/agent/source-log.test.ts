// SPDX-License-Identifier: Apache-2.0

import type { Logger } from "pino";
import { expect, test } from "vitest";
import { SourceLog } from "../../../src/agent/source-log.ts";
import type { SourceStatus } from "../../../src/source/source.ts";

function said(...states: readonly Pick<SourceStatus, "state" | "reason">[]): string[] {
  const lines: string[] = [];
  const line = (level: string) => (fields: { reason?: string }) => lines.push(`${level} ${fields.reason ?? ""}`.trim());
  const log = new SourceLog({ warn: line("warn"), info: line("info") } as unknown as Logger);
  for (const state of states) log.observe({ source: "kubernetes", peer: "p", lastHeardNs: 0n, counters: {}, ...state });
  return lines;
}

test("an outage is told once, and its end", () => {
  const away = { state: "disconnected", reason: "ECONNREFUSED" } as const;
  const well = { state: "synced", reason: null } as const;
  expect(said(well, away, away, { state: "disconnected", reason: null }, away, well, well)).toEqual([
    "warn ECONNREFUSED",
    "info",
  ]);
});

test("a start without the source is told; a start that takes its time is not", () => {
  const starting = { state: "starting", reason: null } as const;
  expect(said(starting, starting, { state: "synced", reason: null })).toEqual([]);
  expect(said(starting, { state: "starting", reason: "ECONNREFUSED" })).toEqual(["warn ECONNREFUSED"]);
});
