// SPDX-License-Identifier: Apache-2.0
// KubeProxyConfiguration files as settings and back: what kube-proxy takes is taken, what it refuses is refused with the
// field's path, and what is written is what it writes.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { defaultConfig, type ParsedConfig, parseConfig } from "../../../../src/config/config.ts";
import { configzText, yamlText } from "../../../../src/config/kube-proxy/text.ts";
import { wireConfiguration } from "../../../../src/config/kube-proxy/wire.ts";
import { ConfigError } from "../../../../src/config/problem.ts";
import { ACCEPTED, HEADER, KUBEADM, REFUSED } from "./cases.ts";

const golden = (name: string): string => readFileSync(new URL(`golden/${name}.yaml`, import.meta.url), "utf8");
const parse = (text: string): Promise<ParsedConfig> => parseConfig("f.yaml", HEADER + text);

async function problemsOf(text: string): Promise<{ readonly path: string; readonly message: string }[]> {
  const error = await parseConfig("f.yaml", text).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(ConfigError);
  return [...(error as ConfigError).problems];
}

describe("what kube-proxy writes for a file is written for it", () => {
  test.each(Object.entries(ACCEPTED))("%s", async (name, text) => {
    const { config } = await parse(text);
    expect(await yamlText(wireConfiguration(config))).toBe(golden(name));
  });

  test("kubeadm's file", async () => {
    const { config, notes, kind } = await parseConfig("config.conf", KUBEADM);
    expect([kind, notes]).toEqual(["KubeProxyConfiguration", []]);
    expect(await yamlText(wireConfiguration(config))).toBe(golden("kubeadm"));
  });
});

test.each(REFUSED)("%s is refused", async (text, ...paths) => {
  expect((await problemsOf(HEADER + text)).map(({ path }) => path)).toEqual(paths);
});

test("all problems come at once, of types and of values", async () => {
  const text = "mode: 5\nenableProfiling: 1\nbindAddress: x\nnodePortAddresses: [1, x]\nconntrack: {min: a, max: 1}\n";
  const problems = await problemsOf(HEADER + text);
  expect(problems.map(({ path, message }) => `${path}: ${message}`)).toEqual([
    "enableProfiling: must be boolean, is 1",
    "mode: must be string, is 5",
    "nodePortAddresses.0: must be string, is 1",
    'conntrack.min: must be number, is "a"',
    'bindAddress: must be an IP address, is "x"',
  ]);
});

test("a wrong version, and another kind of kube-proxy's", async () => {
  const version = HEADER.replace("v1alpha1", "v1alpha2");
  expect((await problemsOf(version)).map(({ path }) => path)).toEqual(["apiVersion"]);
  expect((await problemsOf(HEADER.replace("KubeProxyC", "C"))).map(({ path }) => path)).toEqual(["kind"]);
});

test("unknown fields and fields that stand there twice are passed over, a note each", async () => {
  const { notes } = await parse(ACCEPTED["unknown-and-twice"] ?? "");
  expect(notes).toEqual([
    "f.yaml: unknown field Mode is ignored",
    "f.yaml: unknown field foo is ignored",
    "f.yaml: unknown field conntrack.max is ignored",
    "f.yaml: unknown field windows is ignored",
    "f.yaml: field mode stands there twice; the last one counts",
    "f.yaml: field conntrack.min stands there twice; the last one counts",
  ]);
});

test("kubeadm's nulls and zeros ask for defaults, and for no sysctl", async () => {
  const { config } = await parseConfig("config.conf", KUBEADM);
  expect(config).toEqual({
    ...defaultConfig(),
    kubeconfig: "/var/lib/kube-proxy/kubeconfig.conf",
    clusterCidrs: ["10.244.0.0/16", "fd44::/64"],
    logFormat: "text",
  });
});

test("every field that has a meaning is found in the settings", async () => {
  const { config } = await parse(ACCEPTED["everything"] ?? "");
  expect(config).toMatchObject({
    kubeconfig: "/etc/k.conf",
    hostnameOverride: " Node-7 ",
    bindAddress: "::",
    healthzBindAddress: "10.0.0.1:10256",
    metricsBindAddress: "[fd00::1]:10249",
    bindAddressHardFail: true,
    enableProfiling: true,
    mode: "nftables",
    localhostNodePorts: false,
    nodePortAddresses: ["10.0.0.0/8", "fd00::/8"],
    allowServiceExternalIps: false,
    masqueradeAll: true,
    detectLocalMode: "InterfaceNamePrefix",
    detectLocal: { bridgeInterface: "br0", interfaceNamePrefix: "veth" },
    clusterCidrs: ["10.244.0.0/16", "fd44::/64"],
    syncPeriodSec: 5400.5,
    minSyncPeriodSec: 2.5,
    configSyncPeriodSec: 0.001,
    oomScoreAdj: 0,
    conntrack: {
      maxPerCore: 0,
      min: 0,
      tcpEstablishedTimeoutSec: 0,
      tcpCloseWaitTimeoutSec: 5400,
      tcpBeLiberal: true,
      udpTimeoutSec: 0.1,
      udpStreamTimeoutSec: null,
    },
    logLevel: "debug",
    logFormat: "text",
  });
});

test("localhost NodePorts are iptables mode's alone", async () => {
  const allowed = async (text: string): Promise<boolean> => (await parse(text)).config.localhostNodePorts;
  expect(await allowed("")).toBe(true);
  expect(await allowed("mode: iptables")).toBe(true);
  expect(await allowed("iptables: {localhostNodePorts: false}")).toBe(false);
  expect(await allowed("mode: nftables")).toBe(false);
  expect(await allowed("mode: ipvs")).toBe(false);
});

test("masqueradeAll is read from the mode's section, of ipvs from that of iptables", async () => {
  const all = async (mode: string, section: string): Promise<boolean> =>
    (await parse(`mode: ${mode}\n${section}: {masqueradeAll: true}`)).config.masqueradeAll;
  expect(await all("iptables", "iptables")).toBe(true);
  expect(await all("ipvs", "iptables")).toBe(true);
  expect(await all("nftables", "iptables")).toBe(false);
  expect(await all("nftables", "nftables")).toBe(true);
  expect(await all("ipvs", "nftables")).toBe(false);
});

test("/configz: compact, keys in the order of kube-proxy's type, no empty featureGates", () => {
  const text = configzText(defaultConfig());
  expect(text.startsWith('{"kubeproxy.config.k8s.io":{"kind":"KubeProxyConfiguration","apiVersion":')).toBe(true);
  const { "kubeproxy.config.k8s.io": wire } = JSON.parse(text) as Record<string, object>;
  expect(Object.keys(wire ?? {}).join(" ")).toBe(
    "kind apiVersion clientConnection logging hostnameOverride bindAddress healthzBindAddress metricsBindAddress " +
      "bindAddressHardFail enableProfiling showHiddenMetricsForVersion mode iptables ipvs nftables winkernel " +
      "detectLocalMode detectLocal clusterCIDR nodePortAddresses oomScoreAdj conntrack configSyncPeriod portRange",
  );
});
