// SPDX-License-Identifier: Apache-2.0
// kube-proxy's flags: every one of them is taken, in every spelling that manifests have; what is wrong ends with 1 before
// anything is touched.

import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { HEADER } from "../unit/config/kube-proxy/cases.ts";
import { FLAGS, SPELLINGS, WRONG_FLAGS } from "../unit/config/kube-proxy/flag-cases.ts";
import { outcome, portolan, type Result } from "./bed.ts";

const dir = mkdtempSync(join(tmpdir(), "portolan-flags-"));
afterAll(() => rmSync(dir, { recursive: true }));
const output = join(dir, "written.yaml");
const bare = (...flags: readonly string[]): Promise<Result> => outcome([portolan, "run", ...flags]);

/** What --write-config-to writes, as an object. */
async function written(...flags: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stderr } = await bare(`--write-config-to=${output}`, ...flags);
  expect([code, stderr]).toEqual([0, expect.stringContaining(`portolan: wrote ${output}\n`)]);
  return parse(readFileSync(output, "utf8")) as Record<string, unknown>;
}

test("every flag is taken", async () => {
  const { code } = await bare(`--write-config-to=${output}`, ...FLAGS, "--init-only=false", "--cleanup=0");
  expect(code).toBe(0);
});

test.each(SPELLINGS)("%j", async (flags, expected) => {
  expect(await written(...flags)).toMatchObject(expected);
});

test.each(WRONG_FLAGS)("%s ends with 1 and is named", async (wrong) => {
  const { code, stderr, stdout } = await bare("--source=dir:/none", wrong);
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toContain(wrong.split(/[= ]/)[0]);
  expect(stderr).not.toContain("    at ");
});

test("flags that do not go together end with 1", async () => {
  const { code, stderr } = await bare("--iptables-sync-period=500ms");
  expect([code, stderr]).toEqual([1, expect.stringMatching(/flags: 1 problem\n {2}syncPeriodSec: must not be less/)]);
});

test("flags without effect are one line", async () => {
  const { code, stderr } = await bare(`--write-config-to=${output}`, "--ipvs-scheduler=rr", "--kube-api-qps=7");
  expect([code, stderr]).toEqual([
    0,
    `portolan: --kube-api-qps, --ipvs-scheduler have no effect here\nportolan: wrote ${output}\n`,
  ]);
});

test("--write-config-to writes what a file amounts to, and fails where it cannot write", async () => {
  const file = join(dir, "config.conf");
  writeFileSync(file, `${HEADER}mode: nftables\n`);
  expect(await written(`--config=${file}`, "--proxy-mode=ipvs", "--hostname-override=N1", "-v=5")).toMatchObject({
    mode: "nftables",
    nodePortAddresses: ["primary"],
    hostnameOverride: "n1",
    logging: { verbosity: 5, format: "text" },
  });
  const { code, stderr } = await bare(`--write-config-to=${dir}/none/x`);
  expect([code, stderr]).toEqual([1, expect.stringContaining(`${dir}/none/x`)]);
});

test("a file with problems: all of them, with paths, and 1", async () => {
  const file = join(dir, "bad.conf");
  writeFileSync(file, `${HEADER}mode: x\noomScoreAdj: 2000\nconntrack: {min: a}\n`);
  const { code, stderr } = await bare(`--config=${file}`);
  expect(code).toBe(1);
  expect(stderr.trim().split("\n")).toEqual([
    `portolan: ${file}: 3 problems`,
    '  mode: must be iptables, ipvs, nftables or empty, is "x"',
    '  conntrack.min: must be number, is "a"',
    "  oomScoreAdj: must be -1000 to 1000, is 2000",
  ]);
});

describe("under the name kube-proxy", () => {
  const program = join(dir, "kube-proxy");
  symlinkSync(portolan, program);
  const named = (...args: string[]): Promise<Result> => outcome([program, ...args]);

  test("the version", async () => {
    const [version, raw, false_, other] = await Promise.all([
      named("--version"),
      named("--version=raw"),
      named("--version=false", `--write-config-to=${output}`),
      named("--version=v1.36.3"),
    ]);
    expect([version?.code, version?.stdout]).toEqual([0, expect.stringMatching(/^portolan v\d+\.\d+\.\d+\n$/)]);
    expect([raw?.code, raw?.stdout]).toEqual([0, expect.stringMatching(/^version\.Info\{Major:"\d+", Minor:"\d+", /)]);
    expect([false_?.code, false_?.stdout]).toEqual([0, ""]);
    expect([other?.code, other?.stderr]).toEqual([1, expect.stringContaining("--version: must be")]);
  });

  test("help, unknown flags and arguments", async () => {
    expect(await named("--help")).toMatchObject({ code: 0, stdout: expect.stringContaining("--proxy-mode <MODE>") });
    expect(await named("--no-such-flag=1")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("--no-such-flag"),
    });
    expect(await named("serve")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('unexpected argument "serve"'),
    });
  });
});
