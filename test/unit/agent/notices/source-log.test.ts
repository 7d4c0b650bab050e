// SPDX-License-Identifier: Apache-2.0

import type { Logger } from "pino";
import { expect, test } from "vitest";
import { SourceLog, sourceWatcher } from "../../../../src/agent/notices/source-log.ts";
import type { SourceStatus } from "../../../../src/source/source.ts";

interface Line {
  readonly level: string;
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function logInto(lines: Line[]): Logger {
  const at = (level: string) => (fields: Line["fields"], text: string) => lines.push({ level, text, fields });
  return { error: at("error"), warn: at("warn"), info: at("info") } as unknown as Logger;
}

function said(
  pinned: number,
  ...states: readonly (Pick<SourceStatus, "state" | "reason"> & Partial<SourceStatus>)[]
): string[] {
  const lines: Line[] = [];
  const log = new SourceLog(logInto(lines), pinned);
  const fixed = { source: "kubernetes", peer: "p", lastHeardNs: 0n, counters: {}, refused: [], denied: null };
  for (const state of states) log.observe({ ...fixed, ...state });
  return lines.map(({ level, fields, text }) => `${level} ${fields["reason"] ?? ""}: ${text}`);
}

const away = { state: "disconnected", reason: "ECONNREFUSED" } as const;
const well = { state: "synced", reason: null } as const;

test("an outage is told once, and its end", () => {
  expect(said(0, well, away, away, { state: "disconnected", reason: null }, away, well, well)).toEqual([
    "warn ECONNREFUSED: the source is away; what is programmed stays, and it is tried again",
    "info : the source is back",
  ]);
});

test("a start without the source is told, and what serves meanwhile; a start that takes its time is not", () => {
  const starting = { state: "starting", reason: null } as const;
  const refused = { state: "starting", reason: "ECONNREFUSED" } as const;
  expect(said(7, starting, starting, { state: "synced", reason: null })).toEqual([]);
  expect(said(7, starting, refused)).toEqual([
    "warn ECONNREFUSED: the source is away: serving what was pinned by the agent before, and it is tried again",
  ]);
  expect(said(0, starting, refused)[0]).toContain("what is programmed stays");
});

test("a server that turns the login away is not away, and is told anew", () => {
  const denied = { state: "disconnected", reason: "https://a: 401 Unauthorized", denied: 401 } as const;
  expect(said(0, well, away, denied, denied, away, denied, well)).toEqual([
    "warn ECONNREFUSED: the source is away; what is programmed stays, and it is tried again",
    "warn https://a: 401 Unauthorized: the API server refuses: Unauthorized; what is programmed stays, and it is tried again",
    "info : the source is back",
  ]);
  expect(said(3, { ...denied, state: "starting", denied: 403 })[0]).toContain(
    "the API server refuses: Forbidden: serving what was pinned",
  );
});

test("what the server refuses to show is told once, and when it shows it", () => {
  const refused = { ...well, refused: ["/api/v1/nodes: 403 no"] };
  expect(said(0, well, refused, refused, well, well)).toEqual([
    "warn : refused by the API server: what hangs on it is done without",
    "info : nothing is refused by the API server any more",
  ]);
});

test("a mass deletion that is held is no outage", () => {
  expect(said(0, well, { state: "synced", reason: "a list lacks 30 of 40 objects" })).toEqual([]);
});

test("since when it is away, for as long as it is", () => {
  const log = new SourceLog(logInto([]), 0);
  const observe = (state: typeof away | typeof well) =>
    log.observe({
      source: "kubernetes",
      peer: null,
      lastHeardNs: 0n,
      counters: {},
      refused: [],
      denied: null,
      ...state,
    });
  observe(well);
  expect(log.awaySince).toBe(null);
  const beforeMs = Date.now();
  observe(away);
  const since = Date.parse(log.awaySince ?? "");
  // In whole seconds.
  expect(since).toBeGreaterThan(beforeMs - 1_000);
  expect(since).toBeLessThanOrEqual(Date.now());
  observe(well);
  expect(log.awaySince).toBe(null);
});

test("held, confirmed, refuted and missed are lines of their own; of many names the first ten", () => {
  const lines: Line[] = [];
  const held: string[] = [];
  const watcher = sourceWatcher(logInto(lines), ({ state }) => held.push(state));
  const facts = { resource: "/api/v1/services", server: "https://a", missing: 30, of: 40 };
  for (const state of ["held", "confirmed", "refuted"] as const) watcher.onMassDeletion({ ...facts, state });
  watcher.onMissedEvents(
    "/api/v1/services",
    Array.from({ length: 12 }, (_, i) => `ns/s${i}`),
  );
  expect(lines.map(({ level }) => level)).toEqual(["warn", "info", "info", "error"]);
  expect(lines[0]).toMatchObject({ fields: facts, text: expect.stringContaining("until a second consistent read") });
  expect(lines[3]?.fields).toMatchObject({ count: 12, names: { length: 10 } });
  expect(held).toEqual(["held"]);
});
