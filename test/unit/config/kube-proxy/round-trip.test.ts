// SPDX-License-Identifier: Apache-2.0
// Settings written as a KubeProxyConfiguration and read again are the same, wherever kube-proxy has words for them.

import { expect, test } from "vitest";
import { configFrom, defaultConfig, HEADER, parseConfig } from "../../../../src/config/config.ts";
import { difference } from "../../../../src/config/difference.ts";
import { formatDuration, parseDuration } from "../../../../src/config/kube-proxy/duration.ts";
import { yamlText } from "../../../../src/config/kube-proxy/text.ts";
import { wireConfiguration, wireFile } from "../../../../src/config/kube-proxy/wire.ts";
import { KIND } from "../../../../src/config/kube-proxy/wire-schema.ts";
import type { Config, ConfigInput } from "../../../../src/config/schema.ts";
import { configurationFile } from "../../../support/kube-proxy-files.ts";
import { fc } from "../../../support/property.ts";

const seconds = (min: number): fc.Arbitrary<number> =>
  fc.oneof(
    fc.integer({ min: Math.max(min, 1), max: 86_400 * 40 }),
    fc.integer({ min: 1, max: 10 ** 12 }).map((n) => (min * 1e9 + n) / 1e9),
  );
const name = fc.stringMatching(/^[a-zA-Z0-9.:_ -]{0,12}$/);
const filled = fc.stringMatching(/^[a-z][a-z0-9.-]{0,10}$/);
const cidr = fc.constantFrom("10.0.0.0/8", "192.0.2.0/24", "fd00::/8", "::/0");
const orNull = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(value, { nil: null });
const int31 = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const bind = fc.constantFrom("0.0.0.0:10256", "10.0.0.1:1", "[::]:65535", "[fd00::1]:80");
const duration = seconds(0).map((sec) => formatDuration(Math.round(sec * 1e9) / 1e9));

const kept = fc.record({
  featureGates: fc.dictionary(fc.constantFrom("WatchListClient", "ComponentFlagz"), fc.boolean()),
  clientConnection: fc.record({
    acceptContentTypes: name,
    contentType: filled,
    qps: fc.constantFrom(0.5, 5, 100),
    burst: fc.integer({ min: 1, max: 1000 }),
  }),
  logging: fc.record({
    flushFrequency: fc.oneof(duration, fc.integer({ min: 1, max: 10 ** 10 })),
    vmodule: fc.array(fc.record({ filePattern: filled, verbosity: fc.integer({ min: 0, max: 9 }) }), { maxLength: 2 }),
    options: fc.record({
      text: fc.record({ infoBufferSize: fc.constantFrom("0", "64Ki") }),
    }),
  }),
  showHiddenMetricsForVersion: fc.constantFrom("", "1.35"),
  ipvs: fc.record({
    scheduler: name,
    excludeCIDRs: orNull(fc.array(cidr)),
    strictARP: fc.boolean(),
    tcpTimeout: duration,
  }),
  nftables: fc.record({ masqueradeBit: fc.integer({ min: 0, max: 31 }) }),
  iptables: fc.record({ masqueradeBit: fc.integer({ min: 0, max: 31 }) }),
  winkernel: fc.record({ networkName: name, enableDSR: fc.boolean() }),
  windowsRunAsService: fc.boolean(),
});

const input = fc
  .record({
    kubeconfig: orNull(filled.map((text) => `/${text}`)),
    hostnameOverride: orNull(filled),
    bindAddress: fc.constantFrom("0.0.0.0", "10.0.0.1", "::", "fd00::1"),
    healthzBindAddress: orNull(bind),
    metricsBindAddress: orNull(bind),
    bindAddressHardFail: fc.boolean(),
    enableProfiling: fc.boolean(),
    mode: fc.constantFrom("", "iptables", "ipvs", "nftables"),
    nodePortAddresses: orNull(fc.oneof(fc.constant<string[]>(["primary"]), fc.array(cidr, { minLength: 1 }))),
    allowServiceExternalIps: fc.boolean(),
    masqueradeAll: fc.boolean(),
    detectLocalMode: fc.constantFrom("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"),
    detectLocal: fc.record({ bridgeInterface: filled, interfaceNamePrefix: filled }),
    clusterCidrs: fc.constantFrom<string[]>([], ["10.244.0.0/16"], ["fd44::/64", "10.244.0.0/16"]),
    periods: fc.tuple(seconds(0.001), seconds(0.001)),
    configSyncPeriodSec: seconds(0.001),
    oomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
    conntrack: fc.record({
      maxPerCore: orNull(int31),
      min: orNull(int31),
      tcpEstablishedTimeoutSec: orNull(seconds(0)),
      tcpCloseWaitTimeoutSec: orNull(seconds(0)),
      tcpBeLiberal: orNull(fc.boolean()),
      udpTimeoutSec: orNull(seconds(0)),
      udpStreamTimeoutSec: orNull(seconds(0)),
    }),
    logLevel: fc.constantFrom("trace", "debug", "info"),
    kubeProxy: kept,
  })
  .map(
    ({ periods, kubeProxy, ...rest }): ConfigInput => ({
      ...rest,
      // A buffer is an alpha option.
      kubeProxy: { ...kubeProxy, featureGates: { ...kubeProxy.featureGates, LoggingAlphaOptions: true } },
      syncPeriodSec: Math.max(...periods),
      minSyncPeriodSec: Math.min(...periods),
      localhostNodePorts: rest.mode === "" || rest.mode === "iptables" ? rest.masqueradeAll : false,
      // Patterns for files go with text alone.
      logFormat: kubeProxy.logging.vmodule.length > 0 ? "text" : rest.enableProfiling ? "text" : "json",
    }),
  );

/** A verbosity is kept beside its level, and a file always names one. */
const comparable = ({ kubeProxy, ...config }: Config): object => ({
  ...config,
  kubeProxy: { ...kubeProxy, featureGates: {}, logging: { ...kubeProxy.logging, verbosity: 0 } },
});

test("settings → file → settings", async () => {
  await fc.assert(
    fc.asyncProperty(input, async (fields) => {
      const config = configFrom("test", fields);
      const text = await yamlText(wireFile(config));
      const { config: again, notes } = await parseConfig("f.yaml", text);
      expect(notes).toEqual([]);
      expect(comparable(again)).toEqual(comparable(config));
    }),
    { numRuns: 300 },
  );
});

test("what is effective stays effective", async () => {
  await fc.assert(
    fc.asyncProperty(input, async (fields) => {
      const wire = wireConfiguration(configFrom("test", fields));
      const { config } = await parseConfig("f.json", JSON.stringify(wire));
      expect(wireConfiguration(config)).toEqual(wire);
    }),
    { numRuns: 300 },
  );
});

test("any file that is taken → portolan's kind → the same settings, and the same effect", async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(configurationFile, async (text) => {
      const read = await parseConfig("f", text).catch(() => null);
      if (read?.kind !== KIND) return;
      taken++;
      const own = await yamlText({ ...HEADER, ...difference(read.config, defaultConfig()) });
      const { config, notes } = await parseConfig("own", own);
      expect(notes).toEqual([]);
      expect(config).toEqual(read.config);
      const { config: again } = await parseConfig("back", await yamlText(wireFile(config)));
      expect(wireConfiguration(again)).toEqual(wireConfiguration(config));
    }),
    { numRuns: 400 },
  );
  expect(taken).toBeGreaterThan(100);
});

test.each([
  ["1h30m0.5s", 5400.5, "1h30m0.5s"],
  ["90s", 90, "1m30s"],
  ["+1.5h", 5400, "1h30m0s"],
  ["-5s", -5, "-5s"],
  ["100ms", 0.1, "100ms"],
  ["1us", 1e-6, "1\u00b5s"],
  ["1.5ns", 1e-9, "1ns"],
  ["0", 0, "0s"],
  [".5s", 0.5, "500ms"],
  ["24h", 86_400, "24h0m0s"],
  ["1d", null, ""],
  ["1", null, ""],
  ["", null, ""],
  ["s", null, ""],
  ["9999999h", null, ""],
])("duration %j", (text, sec, form) => {
  expect(parseDuration(text)).toBe(sec);
  if (sec !== null) expect(formatDuration(sec)).toBe(form);
});

test("every duration of Go's range comes back to the nanosecond", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 51n }), (ns) => {
      const sec = Number(ns) / 1e9;
      expect(parseDuration(formatDuration(sec))).toBe(sec);
    }),
  );
});
