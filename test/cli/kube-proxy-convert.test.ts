// SPDX-License-Identifier: Apache-2.0
// portolan config: files of both kinds checked and converted; there and back they mean the same.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parse } from "yaml";
import { ACCEPTED, HEADER, KUBEADM } from "../unit/config/kube-proxy/cases.ts";
import { outcome, portolan, type Result } from "./bed.ts";

const dir = mkdtempSync(join(tmpdir(), "portolan-convert-"));
afterAll(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

const config = (...args: string[]): Promise<Result> => outcome([portolan, "config", ...args]);

test("kubeadm's file as a PortolanConfiguration is what differs from the defaults", async () => {
  const { code, stdout, stderr } = await config("convert", "--to=portolan", file("kubeadm.conf", KUBEADM));
  expect([code, stderr]).toEqual([0, ""]);
  expect(parse(stdout)).toEqual({
    apiVersion: "portolan.io/v1alpha1",
    kind: "PortolanConfiguration",
    kubeconfig: "/var/lib/kube-proxy/kubeconfig.conf",
    clusterCidrs: ["10.244.0.0/16", "fd44::/64"],
    logFormat: "text",
  });
});

test("from kube-proxy's kind to portolan's and back, everything is still there", async () => {
  const first = await config("convert", "--to=kube-proxy", file("all.conf", HEADER + ACCEPTED["everything"]));
  const there = await config("convert", "--to=portolan", file("all2.conf", first.stdout));
  const back = await config("convert", "--to=kube-proxy", file("all.yaml", there.stdout));
  expect([first, there, back].map(({ code, stderr }) => [code, stderr])).toEqual([
    [0, ""],
    [0, ""],
    [0, ""],
  ]);
  expect(back.stdout).toBe(first.stdout);
  expect(there.stdout).toMatch(/^ {2}winkernel:$/m);
});

test("what kube-proxy has no word for is named", async () => {
  const text = "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n";
  const settings = "bpffs: /bpf\nmapSizes: {units: 5}\nlogLevel: warn\nminSyncPeriodSec: 0\nhealthzBindAddress: none\n";
  const path = file("own.yaml", text + settings);
  const { code, stdout, stderr } = await config("convert", "--to=kube-proxy", path);
  expect(code).toBe(0);
  expect(parse(stdout)).toMatchObject({ kind: "KubeProxyConfiguration", conntrack: { min: null } });
  expect(stderr.trim().split("\n").sort()).toEqual(
    ["bpffs", "healthzBindAddress", "logLevel", "mapSizes.units", "minSyncPeriodSec"].map(
      (field) => `portolan: ${field} has no counterpart in a KubeProxyConfiguration: left out`,
    ),
  );
});

test("check says what a file is, what it says without effect, and what is wrong", async () => {
  const good = file("good.conf", `${HEADER}foo: 1\niptables: {masqueradeAll: true}\n`);
  expect(await config("check", good)).toEqual({
    code: 0,
    stdout: `${good}: a KubeProxyConfiguration, and nothing is wrong with it\n`,
    stderr: `portolan: ${good}: unknown field foo is ignored\nportolan: masqueradeAll has no effect: a caller's socket keeps its own address\n`,
  });
  const bad = file("bad.conf", `${HEADER}mode: x\n`);
  expect(await config("check", bad)).toMatchObject({ code: 1, stderr: expect.stringContaining("  mode: must be ") });
  expect(await config("check", join(dir, "none"))).toMatchObject({ code: 1, stderr: expect.stringContaining("none") });
});
