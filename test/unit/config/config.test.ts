// SPDX-License-Identifier: Apache-2.0
// Configuration files: defaults, every problem at once with its path, and kinds that are not ours.

import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { isCidr } from "../../../src/config/checks.ts";
import { defaultConfig, parseConfig } from "../../../src/config/config.ts";
import { ConfigError } from "../../../src/config/problem.ts";
import type { Config } from "../../../src/config/schema.ts";

const HEADER = "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n";

const parsed = async (text: string): Promise<Config> => (await parseConfig("f.yaml", text)).config;

async function problemsOf(text: string): Promise<readonly string[]> {
  const error = await parseConfig("f.yaml", text).then(
    () => null,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as ConfigError).problems.map(({ path, message }) => `${path}: ${message}`);
}

test("a file with only its header holds the defaults", async () => {
  expect(await parsed(HEADER)).toEqual(defaultConfig());
  expect(defaultConfig()).toMatchObject({
    source: "kubernetes",
    bpffs: "/sys/fs/bpf",
    runDir: "/run/portolan",
    replacement: "strict",
    nodePortAddresses: null,
    mapSizes: { units: 131_072, frontends: 262_144, backends: 524_288, slots: 1_048_576, sockets: 65_536 },
  });
});

test("null is the default, JSON is YAML", async () => {
  const text = JSON.stringify({
    apiVersion: "portolan.io/v1alpha1",
    kind: "PortolanConfiguration",
    mapSizes: { units: null, frontends: 1000 },
    bindGuard: null,
    kubeconfig: null,
  });
  const { config } = await parseConfig("f.json", text);
  expect(config).toEqual({ ...defaultConfig(), mapSizes: { ...defaultConfig().mapSizes, frontends: 1000 } });
});

test("a ConfigMap is named as one", async () => {
  expect(await problemsOf("apiVersion: v1\nkind: ConfigMap\ndata: {}\n")).toEqual([
    expect.stringContaining("is a ConfigMap: give what is in its data"),
  ]);
});

test("all problems come at once, each with its path", async () => {
  const text = `${HEADER}
sorce: kubernetes
source: etcd
mapSizes: {units: many, sockets: 1000, slots: 100, widgets: 3}
replacement: partial
bindGuard: "yes"
runDir: run
nodePortAddresses: [10.0.0.0/33, primary, fd00::/64]
bindAddress: node-1
healthzBindAddress: 10.0.0.1:0
metricsBindAddress: none
oomScoreAdj: 1001
minSyncPeriodSec: 31
detectLocalMode: BridgeInterface
conntrack: {min: -1, max: 5}
mode: kernelspace
externalIpsAllowed: [10.1.2.3]
apiServers: ["10.0.0.1:6443"]
logLevel: loud
`;
  const problems = await problemsOf(text);
  for (const path of [
    "sorce",
    "source",
    "mapSizes.units",
    "mapSizes.sockets",
    "mapSizes.slots",
    "mapSizes.widgets",
    "replacement",
    "bindGuard",
    "runDir",
    "nodePortAddresses",
    "nodePortAddresses.0",
    "bindAddress",
    "healthzBindAddress",
    "metricsBindAddress",
    "oomScoreAdj",
    "conntrack.min",
    "conntrack.max",
    "mode",
    "externalIpsAllowed.0",
    "apiServers.0",
    "logLevel",
  ]) {
    expect(problems.filter((problem) => problem.startsWith(`${path}: `))).toHaveLength(1);
  }
  expect(problems).toHaveLength(21);
  expect(problems).toContain("sorce: is not a known key");
});

test("audits are a day apart at most: a timer of Node's that is told more than 24 days fires at once", async () => {
  expect((await parsed(`${HEADER}auditPeriodSec: 86400\n`)).auditPeriodSec).toBe(86_400);
  expect(await problemsOf(`${HEADER}auditPeriodSec: 3000000\n`)).toEqual([
    "auditPeriodSec: must be 86400 or less, is 3000000",
  ]);
});

test("settings that do not go together", async () => {
  const text = `${HEADER}syncPeriodSec: 5\nminSyncPeriodSec: 6\ndetectLocalMode: BridgeInterface\n`;
  expect(await problemsOf(text)).toEqual([
    "syncPeriodSec: must not be less than minSyncPeriodSec, is 5",
    'detectLocal.bridgeInterface: must not be empty in detectLocalMode BridgeInterface, is ""',
  ]);
  expect(await problemsOf(`${HEADER}detectLocalMode: InterfaceNamePrefix\n`)).toEqual([
    'detectLocal.interfaceNamePrefix: must not be empty in detectLocalMode InterfaceNamePrefix, is ""',
  ]);
});

test("servers listen in the family of bindAddress, on their usual ports, unless told otherwise", async () => {
  const listening = async (text: string): Promise<string[]> => {
    const { healthzBindAddress, metricsBindAddress } = await parsed(HEADER + text);
    return [healthzBindAddress, metricsBindAddress];
  };
  expect(await listening("")).toEqual(["0.0.0.0:10256", "127.0.0.1:10249"]);
  expect(await listening("bindAddress: fd00::7")).toEqual(["[::]:10256", "[::1]:10249"]);
  expect(await listening("healthzBindAddress: none\nmetricsBindAddress: fd00::7")).toEqual(["none", "[fd00::7]:10249"]);
  expect(await listening('healthzBindAddress: "[::1]:8080"')).toEqual(["[::1]:8080", "127.0.0.1:10249"]);
});

test("a missing header is named", async () => {
  expect(await problemsOf("source: kubernetes")).toEqual([
    expect.stringMatching(/^apiVersion: is missing; .*portolan.io\/v1alpha1/),
    expect.stringMatching(/^kind: is missing; .*PortolanConfiguration/),
  ]);
});

test("broken YAML is reported with its line, all of it", async () => {
  const problems = await problemsOf(`${HEADER}a: 1\na: 2\nb: [1\n`);
  expect(problems.length).toBeGreaterThan(1);
  expect(problems[0]).toMatch(/^line 4: /);
});

test.each(["", "- 1", "just words"])("%j is not an object", async (text) => {
  expect(await problemsOf(text)).toEqual([expect.stringMatching(/is not an object/)]);
});

test.each([
  ["10.0.0.0/8", true],
  ["0.0.0.0/0", true],
  ["fd00::/8", true],
  ["::/129", false],
  ["10.0.0.0/", false],
  ["10.0.0/8", false],
  ["10.0.0.0/8/8", false],
  ["10.0.0.1", false],
])("isCidr(%j) is %s", (text, expected) => {
  expect(isCidr(text)).toBe(expected);
});

test("the example file holds every setting with its default", async () => {
  const file = new URL("../../../examples/config.yaml", import.meta.url);
  const text = await readFile(file, "utf8");
  expect(await parsed(text)).toEqual(defaultConfig());
  for (const key of Object.keys({ ...defaultConfig(), ...defaultConfig().mapSizes })) {
    expect(text).toMatch(new RegExp(`^ *${key}:`, "m"));
  }
});
