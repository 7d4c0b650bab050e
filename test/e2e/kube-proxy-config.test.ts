// SPDX-License-Identifier: Apache-2.0
// The real kube-proxy and kubeadm on the cases that the unit tests hold ours against: each golden file is what kube-proxy
// writes, each refused file is one that it refuses, and kubeadm's file is the one that kubeadm makes.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command } from "../support/daemon.ts";
import { kubeBinaries } from "../support/kube.ts";
import { ACCEPTED, HEADER, KUBEADM, REFUSED } from "../unit/config/kube-proxy/cases.ts";
import { FLAGS, SPELLINGS, WRONG_FLAGS } from "../unit/config/kube-proxy/flag-cases.ts";

const dir = mkdtempSync(join(tmpdir(), "portolan-kube-proxy-"));
let binaries = "";
beforeAll(async () => {
  binaries = await kubeBinaries(["kube-proxy", "kubeadm"]);
});
afterAll(() => rmSync(dir, { recursive: true }));

/** What kube-proxy writes for a file. Rejects if it refuses it. */
async function written(text: string): Promise<string> {
  const [input, output] = [join(dir, "in.yaml"), join(dir, "out.yaml")];
  writeFileSync(input, text);
  await command([join(binaries, "kube-proxy"), `--config=${input}`, `--write-config-to=${output}`]);
  return readFileSync(output, "utf8");
}

const golden = (name: string): string =>
  readFileSync(new URL(`../unit/config/kube-proxy/golden/${name}.yaml`, import.meta.url), "utf8");

test.each(Object.entries(ACCEPTED))("kube-proxy writes the golden file %s", async (name, text) => {
  expect(await written(HEADER + text)).toBe(golden(name));
});

test("kube-proxy writes the golden file of kubeadm's", async () => {
  expect(await written(KUBEADM)).toBe(golden("kubeadm"));
});

test.each(REFUSED)("kube-proxy refuses %s", async (text) => {
  await expect(written(HEADER + text)).rejects.toMatchObject({ code: 1 });
});

const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

/** What a program writes for these flags. */
async function writtenBy(program: readonly string[], flags: readonly string[]): Promise<string> {
  const output = join(dir, "flags.yaml");
  await command([...program, `--write-config-to=${output}`, ...flags]);
  return readFileSync(output, "utf8");
}

test.each([FLAGS, ...SPELLINGS.map(([flags]) => flags)].map((flags) => [flags]))(
  "portolan run and kube-proxy write the same for %j",
  async (flags) => {
    const real = await writtenBy([join(binaries, "kube-proxy")], flags);
    expect(await writtenBy([portolan, "run", "--logging-format=text"], flags)).toBe(real);
  },
);

/** Accepted by --write-config-to, which looks at no port. */
const LATER = new Set(["--metrics-port=0"]);

test.each(WRONG_FLAGS.filter((flag) => !LATER.has(flag)))("kube-proxy ends with 1 for %s", async (flag) => {
  await expect(writtenBy([join(binaries, "kube-proxy")], [flag])).rejects.toMatchObject({ code: 1 });
});

test("kubeadm's file is what kubeadm prints", async () => {
  const config = join(dir, "kubeadm.yaml");
  const cluster = {
    kubernetesVersion: "v1.36.3",
    networking: { podSubnet: "10.244.0.0/16,fd44::/64", serviceSubnet: "10.96.0.0/16,fd96::/112" },
  };
  const init = { localAPIEndpoint: { advertiseAddress: "10.0.0.1" }, nodeRegistration: { criSocket: "unix:///none" } };
  const apiVersion = "kubeadm.k8s.io/v1beta4";
  const documents = [
    { apiVersion, kind: "InitConfiguration", ...init },
    { apiVersion, kind: "ClusterConfiguration", ...cluster },
  ];
  writeFileSync(config, documents.map((document) => JSON.stringify(document)).join("\n---\n"));
  const flags = ["init", "phase", "addon", "kube-proxy", "--print-manifest", `--config=${config}`];
  const manifests = await command([join(binaries, "kubeadm"), ...flags]);
  const [, block = ""] = /\n {2}config\.conf: \|-\n((?: {4}.*\n)+)/.exec(manifests) ?? [];
  expect(block.replaceAll(/^ {4}/gm, "")).toBe(KUBEADM);
});
