// SPDX-License-Identifier: Apache-2.0
// The verifier's gate: every program loads and attaches with CAP_BPF and CAP_NET_ADMIN and nothing else (without
// CAP_PERFMON it is stricter), and none grows by more than a tenth unnoticed.
// PORTOLAN_UPDATE_BASELINE=1 writes the baseline of the kernel at hand.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { BpfObject } from "libbpf-ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cgroupMount } from "./bed.ts";
import { HOOKS, OBJECT } from "./hooks.ts";

const TWO_CAPABILITIES = "0000008000001000";
const BASELINE = join(import.meta.dirname, "verifier-baseline.json");
const GROWTH = 1.1;
const ANY_KERNEL = 100_000;
/** One in each of connect, sendmsg (both of which refuse in one place) and post_bind, of both families. */
const CALLS_OF_SET_RETVAL = 6;

type Counts = Record<string, number>;

const kernel = release().split(".").slice(0, 2).join(".");
const baselines = JSON.parse(readFileSync(BASELINE, "utf8")) as Record<string, Counts>;
const cgroup = join(cgroupMount(), `ptdp-${process.pid}-gate`);

function load(haveSetRetval: boolean, ...more: string[]): { capabilities: string; programs: Counts } {
  const script = join(import.meta.dirname, "load-object.ts");
  const drop = ["--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all"];
  const command = [...drop, process.execPath, script, OBJECT, String(haveSetRetval), ...more];
  return JSON.parse(execFileSync("setpriv", command, { encoding: "utf8" }));
}

beforeAll(() => {
  mkdirSync(cgroup);
});

afterAll(() => {
  rmdirSync(cgroup);
});

test("all programs load and attach with exactly CAP_BPF and CAP_NET_ADMIN", () => {
  const { capabilities, programs } = load(true, cgroup);
  expect(capabilities).toBe(TWO_CAPABILITIES);
  expect(Object.keys(programs)).toEqual(Object.keys(HOOKS));
});

test("the object has no program that the hooks here do not name", () => {
  using object = BpfObject.open(OBJECT);
  expect(object.programs.map(({ name }) => name).sort()).toEqual(Object.keys(HOOKS).sort());
});

test("all programs load where the kernel has no bpf_set_retval", () => {
  expect(Object.keys(load(false).programs)).toEqual(Object.keys(HOOKS));
});

test("what calls a helper that the kernel lacks loads with those calls taken out, and not otherwise", () => {
  const directory = mkdtempSync(join(tmpdir(), "ptdp-helper-"));
  try {
    const root = join(import.meta.dirname, "../..");
    execFileSync("cp", ["-r", join(root, "bpf"), join(root, "Makefile"), directory]);
    const source = join(directory, "bpf/sock.bpf.c");
    const text = readFileSync(source, "utf8").replaceAll("bpf_set_retval(", "no_such_helper(");
    const declaration = "static int (*no_such_helper)(int) = (void *)9999;\nchar sock_license";
    writeFileSync(source, text.replace("char sock_license", declaration));
    execFileSync("make", ["-s", "-C", directory, "dist/bpf/sock.bpf.o"], { stdio: "ignore" });
    const object = join(directory, "dist/bpf/sock.bpf.o");
    const withHelper = (helper: string, haveSetRetval: string): string =>
      execFileSync(process.execPath, [join(import.meta.dirname, "load-object.ts"), object, haveSetRetval], {
        env: { ...process.env, PORTOLAN_TEST_HELPER: helper },
        encoding: "utf8",
        stdio: "pipe",
      });
    expect(() => withHelper("9999", "true")).toThrow(/9999/);
    expect(withHelper("9999", "false")).toContain("pt_sock_release");
    using opened = BpfObject.open(object);
    expect(opened.stubHelper(9999, 0)).toBe(CALLS_OF_SET_RETVAL);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

describe("verified instructions", () => {
  const { programs } = load(true);
  if (process.env["PORTOLAN_UPDATE_BASELINE"]) {
    baselines[kernel] = programs;
    writeFileSync(BASELINE, `${JSON.stringify(baselines, null, 2)}\n`);
  }
  const baseline = baselines[kernel];
  test.each(Object.keys(HOOKS))(`%s on ${kernel}`, (name) => {
    const count = programs[name] ?? 0;
    expect(count).toBeGreaterThan(0);
    // A kernel without a baseline of its own: far from the verifier's million is all that can be said.
    if (!baseline) return expect(count).toBeLessThan(ANY_KERNEL);
    expect(count).toBeLessThanOrEqual((baseline[name] ?? 0) * GROWTH);
    // A baseline that has become too generous lets growth through.
    expect(count).toBeGreaterThanOrEqual((baseline[name] ?? 0) / GROWTH);
  });
});

test("the object is byte-identical when it is built in another directory", () => {
  const build = (): Buffer => {
    const directory = mkdtempSync(join(tmpdir(), "ptdp-build-"));
    try {
      const root = join(import.meta.dirname, "../..");
      execFileSync("cp", ["-r", join(root, "bpf"), join(root, "Makefile"), directory]);
      execFileSync("make", ["-s", "-C", directory, "dist/bpf/sock.bpf.o"], { stdio: "ignore" });
      return readFileSync(join(directory, "dist/bpf/sock.bpf.o"));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
  const [first, second] = [build(), build()];
  expect(first.equals(second)).toBe(true);
  expect(first.equals(readFileSync(OBJECT))).toBe(true);
});
