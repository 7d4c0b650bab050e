// SPDX-License-Identifier: Apache-2.0
// Flags and files as settings: what wins over what, and what is said of the rest.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { goArguments, switchFlag } from "../../../src/cli/go-flags.ts";
import { givenFlags, loadSettings } from "../../../src/cli/settings.ts";
import { type Flags, RUN_DIR } from "../../../src/cli/usage.ts";
import { defaultConfig } from "../../../src/config/config.ts";
import { HEADER } from "../config/kube-proxy/cases.ts";

const dir = mkdtempSync(join(tmpdir(), "portolan-settings-"));
afterAll(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
}
const kubeProxy = file("config.conf", `${HEADER}clientConnection: {kubeconfig: /from/file}\nhostnameOverride: file\n`);
const portolan = file(
  "config.yaml",
  "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nkubeconfig: /from/file\nhostnameOverride: file\n",
);
const V = { flags: "-v, --v <LEVEL>", description: "" };
const notes = async (flags: Flags): Promise<readonly string[]> => (await loadSettings(flags)).notes;

test("nothing given: the defaults", async () => {
  expect(await loadSettings({})).toEqual({ config: defaultConfig(), file: null, text: null, notes: [] });
  const empty = { config: "", kubeconfig: "", master: "", hostnameOverride: "", bindAddress: "", v: "0" };
  expect(await loadSettings(empty)).toEqual({ config: defaultConfig(), file: null, text: null, notes: [] });
});

test("--kubeconfig wins over a PortolanConfiguration, and not over a KubeProxyConfiguration", async () => {
  const flags = { kubeconfig: "/from/flag" };
  expect((await loadSettings({ ...flags, config: portolan })).config.kubeconfig).toBe("/from/flag");
  expect(await notes({ ...flags, config: portolan })).toEqual([]);
  expect((await loadSettings({ ...flags, config: kubeProxy })).config.kubeconfig).toBe("/from/file");
  expect(await notes({ ...flags, config: kubeProxy })).toEqual(["--kubeconfig is ignored: the file counts"]);
});

test("--hostname-override wins over both, trimmed and in lower case", async () => {
  for (const config of [portolan, kubeProxy]) {
    expect((await loadSettings({ config, hostnameOverride: " Node-7 " })).config.hostnameOverride).toBe("node-7");
    expect((await loadSettings({ config, hostnameOverride: "" })).config.hostnameOverride).toBe("file");
  }
});

test("--master is asked first, with a file too", async () => {
  for (const config of ["", kubeProxy])
    expect((await loadSettings({ config, master: "https://10.0.0.1:6443//" })).config.apiServers).toEqual([
      "https://10.0.0.1:6443",
    ]);
});

test("--master may be a mere host, which is asked over plain HTTP", async () => {
  expect((await loadSettings({ master: "10.0.0.1:8080" })).config.apiServers).toEqual(["http://10.0.0.1:8080"]);
  expect((await loadSettings({ master: "http://a/prefix" })).config.apiServers).toEqual(["http://a/prefix"]);
});

test("values that do not count are not judged; those that do are, all at once, and with one another", async () => {
  const wrong = { oomScoreAdj: "5000", clusterCidr: "x", featureGates: "NoSuchGate=true", proxyMode: "none" };
  expect((await loadSettings({ ...wrong, config: kubeProxy })).config.oomScoreAdj).toBe(-999);
  await expect(loadSettings(wrong)).rejects.toMatchObject({
    problems: [
      expect.stringMatching(/^--proxy-mode: must be iptables/),
      expect.stringMatching(/^--cluster-cidr: must be one CIDR/),
      expect.stringMatching(/^--feature-gates: NoSuchGate is no feature gate/),
      "--oom-score-adj: must be -1000 to 1000, is 5000",
    ],
  });
  for (const flags of [
    { featureGates: "GangScheduling=true" },
    { loggingFormat: "json", vmodule: "a=1" },
    { logTextInfoBufferSize: "64Ki" },
    { logJsonSplitStream: "true" },
    { loggingFormat: "json", featureGates: "LoggingBetaOptions=false" },
  ])
    await expect(loadSettings(flags)).rejects.toThrow(/^flags: 1 problem/);
  await expect(loadSettings({ config: kubeProxy, loggingFormat: "xml" })).rejects.toThrow(/^--logging-format: must be/);
  await expect(loadSettings({ config: kubeProxy, logTextSplitStream: "true" })).rejects.toThrow(/LoggingAlphaOptions/);
  const alpha = { featureGates: "LoggingAlphaOptions=true", logTextInfoBufferSize: "64Ki", logTextSplitStream: "true" };
  expect((await loadSettings(alpha)).config.kubeProxy.logging.options.text).toEqual({
    splitStream: true,
    infoBufferSize: "64Ki",
  });
});

test("what IPVS is told is looked at in its mode alone", async () => {
  const wrong = { ipvsTcpTimeout: "-1s", ipvsExcludeCidrs: "x" };
  expect((await loadSettings(wrong)).config.kubeProxy.ipvs).toMatchObject({ tcpTimeout: "-1s", excludeCIDRs: ["x"] });
  await expect(loadSettings({ ...wrong, proxyMode: "ipvs" })).rejects.toMatchObject({
    problems: ['--ipvs-exclude-cidrs: must be CIDRs, is "x"', "--ipvs-tcp-timeout: must not be negative"],
  });
});

test("where pods' addresses come from is not looked at where pods are told otherwise", async () => {
  const { config } = await loadSettings({ clusterCidr: "x", detectLocalMode: "NodeCIDR" });
  expect(config).toMatchObject({ clusterCidrs: [], detectLocalMode: "NodeCIDR" });
});

test("flags of the log beside a file are written as the file's are", async () => {
  const { config } = await loadSettings({ config: kubeProxy, logFlushFrequency: "61s", logTextInfoBufferSize: "0k" });
  expect(config.kubeProxy.logging).toMatchObject({
    flushFrequency: "1m1s",
    options: { text: { infoBufferSize: "0" } },
  });
});

test("with a file kube-proxy's settings by flags do not count, of either kind; logging does", async () => {
  for (const config of [portolan, kubeProxy]) {
    const settings = await loadSettings({ config, oomScoreAdj: "5", v: "4", vmodule: "a=1" });
    expect(settings.config).toMatchObject({ oomScoreAdj: -999, logLevel: "debug" });
    expect(settings.notes).toEqual(["--oom-score-adj is ignored: the file counts", "--vmodule has no effect here"]);
  }
});

test("a health server without a port, an address without one, and both", async () => {
  const listening = async (flags: Flags): Promise<string> => (await loadSettings(flags)).config.healthzBindAddress;
  expect(await listening({ healthzPort: "0" })).toBe("none");
  expect(await listening({ healthzPort: "80" })).toBe("0.0.0.0:10256");
  expect(await listening({ healthzBindAddress: "10.0.0.1" })).toBe("10.0.0.1:10256");
  expect(await listening({ healthzBindAddress: "10.0.0.1", healthzPort: "80" })).toBe("10.0.0.1:80");
  expect(await listening({ healthzBindAddress: "10.0.0.1:81", healthzPort: "80" })).toBe("10.0.0.1:81");
});

test("flags as they were given, by their names", () => {
  expect(givenFlags({ v: "4", initOnly: "true", other: "x" }, [V, switchFlag("init-only", "")])).toEqual({
    v: "4",
    "init-only": "true",
  });
});

test.each([
  [
    ["--init_only", "--v_x=a_b", "-v=4", "-v", "4"],
    ["--init-only=true", "--v-x=a_b", "--v=4", "--v=4"],
  ],
  [
    ["--run_dir", "--a_b", "--run-dir", "--", "--init_only", "--run-dir"],
    ["--run-dir=--a_b", "--run-dir=--", "--init-only=true", "--run-dir"],
  ],
  [
    ["--init-only=false", "--init-only", "true"],
    ["--init-only=false", "--init-only=true", "true"],
  ],
  [
    ["--", "--init_only"],
    ["--", "--init_only"],
  ],
  [["--x=a=b\nc"], ["--x=a=b\nc"]],
])("%j is read as %j", (args, expected) => {
  expect(goArguments(args, [switchFlag("init-only", ""), RUN_DIR, V])).toEqual(expected);
});
