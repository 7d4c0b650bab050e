// SPDX-License-Identifier: Apache-2.0
// Connection tracking's settings in a folder that stands for the kernel's files: only what was asked for is written.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  ConntrackError,
  type ConntrackSettings,
  conntrackMax,
  conntrackPlace,
  setConntrack,
} from "../../../src/node/conntrack-settings.ts";

const NOTHING: ConntrackSettings = {
  maxPerCore: null,
  min: null,
  tcpEstablishedTimeoutSec: null,
  tcpCloseWaitTimeoutSec: null,
  tcpBeLiberal: null,
  udpTimeoutSec: null,
  udpStreamTimeoutSec: null,
};
const PRESENT: Readonly<Record<string, number>> = {
  nf_conntrack_max: 65_536,
  nf_conntrack_tcp_timeout_established: 432_000,
  nf_conntrack_tcp_timeout_close_wait: 60,
  nf_conntrack_tcp_be_liberal: 0,
  nf_conntrack_udp_timeout: 30,
  nf_conntrack_udp_timeout_stream: 120,
  hashsize: 16_384,
};

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "portolan-conntrack-"));
  for (const [name, value] of Object.entries(PRESENT)) writeFileSync(join(dir, name), `${value}\n`);
});
afterEach(() => rmSync(dir, { recursive: true }));

const set = (asked: Partial<ConntrackSettings>): string[] =>
  setConntrack({ ...NOTHING, ...asked }, { sysctls: dir, hashSize: join(dir, "hashsize"), cpus: 8 }).map(
    ({ name, value }) => `${name} ${value}`,
  );
const written = (): Record<string, number> => {
  const all = readdirSync(dir).map((name) => [name, Number(readFileSync(join(dir, name), "utf8"))] as const);
  return Object.fromEntries(all.filter(([name, value]) => PRESENT[name] !== value));
};

test("nothing was asked for: nothing is touched, not even read", () => {
  rmSync(join(dir, "nf_conntrack_max"));
  expect(set({})).toEqual([]);
  expect(written()).toEqual({});
});

test("the size of the table, and buckets for it", () => {
  expect(set({ maxPerCore: 32_768, min: 131_072 })).toEqual(["nf_conntrack_max 262144", "hashsize 65536"]);
  expect(written()).toEqual({ nf_conntrack_max: 262_144, hashsize: 65_536 });
});

test("more buckets than needed stay; a table that has the size stays, whatever else", () => {
  expect(set({ maxPerCore: 1, min: 1_000 })).toEqual(["nf_conntrack_max 1000"]);
  expect(set({ maxPerCore: 1, min: 1_000 })).toEqual([]);
});

test("all the others", () => {
  const asked = { tcpEstablishedTimeoutSec: 86_400, tcpCloseWaitTimeoutSec: 3_600.9, udpTimeoutSec: 1 };
  expect(set({ ...asked, tcpBeLiberal: true, udpStreamTimeoutSec: 0.5 })).toEqual([
    "nf_conntrack_tcp_timeout_established 86400",
    "nf_conntrack_tcp_timeout_close_wait 3600",
    "nf_conntrack_udp_timeout 1",
    "nf_conntrack_tcp_be_liberal 1",
  ]);
});

test("0 and false leave a value alone", () => {
  expect(set({ maxPerCore: 0, min: 5, tcpEstablishedTimeoutSec: 0, tcpBeLiberal: false, udpTimeoutSec: 0 })).toEqual(
    [],
  );
  expect(written()).toEqual({});
});

test.each([
  [null, null, 8, 0],
  [0, 1_000, 8, 0],
  [32_768, 131_072, 2, 131_072],
  [32_768, 131_072, 8, 262_144],
  [32_768, 131_072, 64, 1_048_576],
  [1_000, 2_000_000, 8, 2_000_000],
  [32_768, null, 1, 131_072],
  [null, 1, 8, 262_144],
  [5, 0, 8, 40],
])("%j a CPU, at least %j, %i CPUs: %i", (maxPerCore, min, cpus, expected) => {
  expect(conntrackMax({ ...NOTHING, maxPerCore, min }, cpus)).toBe(expected);
});

test("a file that is not there is an error that names the setting", () => {
  rmSync(join(dir, "hashsize"));
  expect(() => set({ maxPerCore: 32_768 })).toThrow(ConntrackError);
  expect(() => set({ maxPerCore: 32_768 })).toThrow(/^conntrack: hashsize cannot be set to 65536: ENOENT/);
});

test("the kernel's own place", () => {
  expect(conntrackPlace()).toMatchObject({ sysctls: "/proc/sys/net/netfilter" });
  expect(conntrackPlace().cpus).toBeGreaterThan(0);
});
