// SPDX-License-Identifier: Apache-2.0
// The verifier's gate for the objects about dead peers: failing sends takes CAP_BPF and CAP_NET_ADMIN and nothing else,
// ending sockets CAP_PERFMON too, and none grows by more than a tenth unnoticed.
// PORTOLAN_UPDATE_BASELINE=1 writes the baseline of the kernel at hand.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cgroupMount } from "./bed.ts";

const BASELINE = join(import.meta.dirname, "verifier-dead-peers.json");
const GROWTH = 1.1;
const ANY_KERNEL = 100_000;

type Counts = Record<string, number>;

const kernel = release().split(".").slice(0, 2).join(".");
const baselines = JSON.parse(readFileSync(BASELINE, "utf8")) as Record<string, Counts>;
const cgroup = join(cgroupMount(), `ptdp-${process.pid}-dead-peers`);

interface Loaded {
  readonly capabilities: string;
  readonly programs: Counts;
  readonly failures: Record<string, string>;
}

function load(capabilities: string): Loaded {
  const script = join(import.meta.dirname, "load-dead-peers.ts");
  const bounds = [`--bounding-set=-all,${capabilities}`, "--inh-caps=-all"];
  return JSON.parse(execFileSync("setpriv", [...bounds, process.execPath, script, cgroup], { encoding: "utf8" }));
}

beforeAll(() => {
  mkdirSync(cgroup);
});

afterAll(() => {
  rmdirSync(cgroup);
});

test("sends can be failed with exactly CAP_BPF and CAP_NET_ADMIN, sockets not ended by iterators", () => {
  const { capabilities, programs, failures } = load("+bpf,+net_admin");
  expect(capabilities).toBe("0000008000001000");
  expect(Object.keys(programs)).toEqual(["pt_quench"]);
  expect(failures).toEqual({ kill: "EPERM", overflow: "EPERM" });
});

test("iterators take CAP_PERFMON besides", () => {
  const { programs, failures } = load("+bpf,+net_admin,+perfmon");
  expect(Object.keys(programs).sort()).toEqual(["pt_end_tcp", "pt_end_udp", "pt_list_overflow", "pt_quench"]);
  expect(failures).toEqual({});
});

test("verified instructions stay within a tenth of the baseline", () => {
  // What asks least of the verifier, and what asks most: without CAP_PERFMON.
  const { pt_quench: strict = 0 } = load("+bpf,+net_admin").programs;
  const programs = { ...load("+bpf,+net_admin,+perfmon").programs, pt_quench: strict };
  if (process.env["PORTOLAN_UPDATE_BASELINE"]) {
    baselines[kernel] = programs;
    writeFileSync(BASELINE, `${JSON.stringify(baselines, null, 2)}\n`);
  }
  const baseline = baselines[kernel];
  for (const [name, count] of Object.entries(programs)) {
    expect.soft(count, name).toBeGreaterThan(0);
    expect.soft(count, name).toBeLessThanOrEqual(baseline ? (baseline[name] ?? 0) * GROWTH : ANY_KERNEL);
    // A baseline that has become too generous lets growth through.
    if (baseline) expect.soft(count, name).toBeGreaterThanOrEqual((baseline[name] ?? 0) / GROWTH);
  }
});
