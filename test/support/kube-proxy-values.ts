// SPDX-License-Identifier: Apache-2.0
// Values for kube-proxy's settings, right ones and odd ones, as they are written: how a value is written decides what it is.

import fc from "fast-check";

/** One of the values of a list, between which there is a broken bar. */
export const oneOf = (list: string): fc.Arbitrary<string> =>
  fc.constantFrom(
    ...list.split("¦").map((value) => value.trim().replaceAll("⏎", "\n").replaceAll("␣", " ").replaceAll("⇥", "\t")),
  );

/** What stands for nothing, in the ways people write it. */
export const NOTHING = oneOf(`¦ null ¦ ~ ¦ Null ¦ NULL ¦ "" ¦ '' ¦ 0 ¦ 0s ¦ "0s" ¦ [] ¦ {} ¦ !!null ~`);

export const RIGHT = {
  on: oneOf("true ¦ false ¦ yes ¦ no ¦ On ¦ off ¦ null ¦"),
  period: oneOf(`30s ¦ 1m ¦ 90s ¦ 1h30m ¦ 45.5s ¦ 0s ¦ "31s" ¦ '1h0m0s' ¦ 2m0.25s ¦ 100h`),
  timeout: oneOf("0s ¦ 1s ¦ 500ms ¦ 1h ¦ 1.5h ¦ 1us ¦ +5s ¦ 2m30.000000001s ¦ -0s ¦ 20h"),
  number: oneOf("0 ¦ 1 ¦ 14 ¦ 31 ¦ 0x10 ¦ 017 ¦ 0b11 ¦ 1_0 ¦ 1e1 ¦ 5.0 ¦ null ¦ ~ ¦ ¦ +5 ¦ 0o17 ¦ -0"),
  text: oneOf(`a ¦ br0 ¦ 'a b' ¦ " a" ¦ '' ¦ "10" ¦ null ¦ é ¦ 'yes' ¦ 2001-01-01 ¦ "a\\nb" ¦ '# a' ¦ 'a: b' ¦ '-' ¦ 12:30 ¦ |⏎    a⏎    b
    ¦ >-⏎    a⏎    b ¦ '1:30' ¦ '0o7' ¦ '.5' ¦ '--- a' ¦ "\\t" ¦ "a\\n\\nb" ¦ '{}' ¦ 'y' ¦ 'Off' ¦ '.inf' ¦ 'a,b'`),
  address: oneOf(`0.0.0.0 ¦ 10.0.0.1 ¦ "::" ¦ "::1" ¦ "fd00::1" ¦ "::ffff:10.0.0.1" ¦ "" ¦ "FD00::A"`),
  listen: oneOf(`10.0.0.1:80 ¦ "[::]:10256" ¦ "[fd00::1]:1" ¦ 10.0.0.1 ¦ "::1" ¦ "" ¦ 0.0.0.0:65535 ¦ "[10.0.0.1]:80"`),
  cidrs: oneOf("[10.0.0.0/8] ¦ [10.1.2.3/8, 'fd00::/8'] ¦ [primary] ¦ null ¦ [] ¦ ['::/0', 0.0.0.0/0]"),
  excluded: oneOf("[10.0.0.0/8] ¦ null ¦ [] ¦ ['fd00::/8', 10.0.0.0/8]"),
  pods: oneOf(`10.244.0.0/16 ¦ "fd44::/64" ¦ 10.244.0.0/16,fd44::/64 ¦ "" ¦ null`),
  size: oneOf(`0 ¦ "0" ¦ null ¦ 0.0 ¦ "0Ki" ¦ "-0" ¦ "0e5"`),
  gates: oneOf(
    "{} ¦ null ¦ {WatchListClient: true} ¦ {AllowServiceExternalIPs: no, ComponentFlagz: Yes} ¦ {AllAlpha: true}",
  ),
  mode: oneOf(`iptables ¦ ipvs ¦ nftables ¦ "" ¦ null`),
  localMode: oneOf(`ClusterCIDR ¦ NodeCIDR ¦ BridgeInterface ¦ InterfaceNamePrefix ¦ "" ¦ null`),
  format: oneOf(`text ¦ json ¦ "" ¦ null`),
  version: oneOf(`'1.35' ¦ "" ¦ null`),
  flush: oneOf("5s ¦ 0 ¦ 1500ms ¦ 6000 ¦ 1m ¦ 5e3 ¦ null"),
  level: oneOf("0 ¦ 2 ¦ 4 ¦ 10 ¦ null ¦ 0x4"),
  qps: oneOf("5 ¦ 2.5 ¦ 0 ¦ null ¦ 0.1 ¦ 16777217 ¦ 1e2 ¦ .5 ¦ 123456789.125"),
  vmodule: oneOf("[{filePattern: a, verbosity: 1}] ¦ [] ¦ null"),
} as const;

export type Kind = keyof typeof RIGHT;

const SWITCH = oneOf(`True ¦ FALSE ¦ y ¦ N ¦ Y es ¦ "true" ¦ 'no' ¦ 1 ¦ 0 ¦ t ¦ !!bool true ¦ !!bool yes ¦ !!str true`);
const NUMBER =
  oneOf(`-1 ¦ 32 ¦ 1000 ¦ -1001 ¦ 2147483647 ¦ 2147483648 ¦ -2147483649 ¦ 9223372036854775808 ¦ 18446744073709551616 ¦ 1e-3 ¦ 5. ¦ -.5
  ¦ 0.0 ¦ -0.0 ¦ 3.75 ¦ 1e400 ¦ 0X1F ¦ -0x10 ¦ 0O17 ¦ -017 ¦ 018 ¦ 09 ¦ 0B1 ¦ -0b11 ¦ _1 ¦ 1_ ¦ 1__0 ¦ 0x_1 ¦ 1,000 ¦ 1:30 ¦ inf ¦ Infinity ¦ 1e ¦ 1.2.3
  ¦ --5 ¦ 1.e3 ¦ .e3 ¦ + ¦ . ¦ 0x ¦ 1 000 ¦ "5" ¦ !!int 5 ¦ !!str 5 ¦ 1_0.5 ¦ 100000000000000000000 ¦ 3.5e38 ¦ 0.30000001 ¦ 4294967296`);
const DURATION =
  oneOf(`-5s ¦ 1µs ¦ 1μs ¦ 1ns ¦ 0.5ns ¦ 1.9ns ¦ .5s ¦ 5.s ¦ 1d ¦ 5 ¦ 5m5m ¦ 1m 5s ¦ " 1s" ¦ "1s " ¦ 1S ¦ s ¦ 1e3s ¦ 0x1s ¦ 2540400h ¦ 1_0s
  ¦ 2562047h47m16.854775808s ¦ -2562047h47m16.854775808s ¦ 99999999999h ¦ 9223372036854775808ns ¦ 0.000000000000000000001h ¦ 1000000000 ¦ 720h0.000000001s`);
const ADDRESS = oneOf(
  `"[::1]" ¦ 1.2.3 ¦ 256.0.0.1 ¦ node ¦ "fe80::1%eth0" ¦ " 10.0.0.1" ¦ "1::2::3" ¦ 10.0.0.1. ¦ "0:0:0:0:0:0:0:0" ¦ "::0.0.0.0" ¦ 1.2.3.4.5`,
);
const LISTEN =
  oneOf(`10.0.0.1:0 ¦ 10.0.0.1:65536 ¦ :80 ¦ 10.0.0.1: ¦ 10.0.0.1:-1 ¦ 10.0.0.1:http ¦ localhost:80 ¦ "[::1]" ¦ "[10.0.0.1]" ¦ "fd00::1:80"
  ¦ "[fe80::1%lo]:80" ¦ "10.0.0.1:80 " ¦ 10.0.0.1:80:80 ¦ "[::1]:80]" ¦ "[[::1]]:80" ¦ "[::ffff:10.0.0.1]:80" ¦ "10.0.0.1:0x50"`);
const CIDRS =
  oneOf(`primary ¦ [primary, primary] ¦ [10.0.0.0/8, primary] ¦ [primary, x] ¦ [""] ¦ [~] ¦ [10.0.0.0/33] ¦ [10.0.0.0] ¦ [10.0.0.0/+8] ¦ [10.0.0/8]
  ¦ ["::ffff:10.0.0.0/104"] ¦ ["fd00::/129"] ¦ [/8] ¦ [" 10.0.0.0/8"] ¦ [10.0.0.0/8/8] ¦ [5] ¦ [[10.0.0.0/8]] ¦ ["fe80::%1/64"] ¦ 10.0.0.0/8`);
const PODS = oneOf(
  `"10.0.0.0/8," ¦ "," ¦ "10.0.0.0/8, fd00::/8" ¦ "10.0.0.0/8,11.0.0.0/8" ¦ "fd00::/8,fd01::/8" ¦ "10.0.0.0/8,fd00::/8,::/0" ¦ " " ¦ x`,
);
const TEXT =
  oneOf(`"\\u00e9" ¦ a#b ¦ a #b ¦ a: b ¦ 'it''s' ¦ "\\x41" ¦ @a ¦ %a ¦ - a ¦ *a ¦ &a b ¦ !x a ¦ [a ¦ {a ¦ "a ¦ a] ¦ yes ¦ 0x1F ¦ = ¦ << ¦ 5 ¦ 1.5 ¦ [a] ¦ {a: b}
  ¦ 'null' ¦ '~' ¦ '1_000' ¦ '+1' ¦ ' a' ¦ 'a ' ¦ '0b1' ¦ '=' ¦ '<<' ¦ '1e3' ¦ '!a' ¦ '%' ¦ "\\e" ¦ '?' ¦ '? a' ¦ '@' ¦ '0x' ¦ '1.' ¦ '.e3' ¦ '.' ¦ '_1' ¦ '08' ¦ '---' ¦ 'a:'`);
const SIZE = oneOf(
  `64Ki ¦ "64Ki" ¦ 1K ¦ 1.5Gi ¦ -1 ¦ "1e3" ¦ 0.5 ¦ 1n ¦ x ¦ "1 Ki" ¦ "+0" ¦ ".5" ¦ "5." ¦ "0E" ¦ "0e" ¦ 5`,
);
const GATES =
  oneOf(`{WatchListClient: maybe} ¦ {WatchListClient: 1} ¦ {WatchListClient: null} ¦ {NoSuchGate: true} ¦ {watchListClient: true} ¦ [WatchListClient] ¦ x
  ¦ {NFTablesProxyMode: false} ¦ {NFTablesProxyMode: true} ¦ {GitRepoVolumeDriver: true} ¦ {AllBeta: false} ¦ {AllAlpha: true, AllBeta: false} ¦ {GangScheduling: true}
  ¦ {GangScheduling: true, GenericWorkload: true} ¦ {WorkloadAwarePreemption: true, GenericWorkload: true} ¦ {AllAlpha: true, GenericWorkload: false} ¦ {AtomicFIFO: false}
  ¦ {ClusterTrustBundleProjection: true} ¦ {ClusterTrustBundleProjection: true, ClusterTrustBundle: true} ¦ {DRADeviceTaintRules: true} ¦ {NodeDeclaredFeatures: false}
  ¦ {DRADeviceTaintRules: true, DRADeviceTaints: false} ¦ {PodLevelResources: false} ¦ {AllBeta: true, GracefulNodeShutdown: false} ¦ {APIServerIdentity: false}
  ¦ {LoggingAlphaOptions: true} ¦ {LoggingBetaOptions: false} ¦ {DRAResourceClaimDeviceStatus: false} ¦ {ResourceHealthStatus: false} ¦ {ContainerRestartRules: false}`);
const VMODULE =
  oneOf(`[{filePattern: a}] ¦ [{verbosity: 1}] ¦ [{filePattern: 'a=b', verbosity: 1}] ¦ [a=1] ¦ a=1 ¦ [{filePattern: a, verbosity: -1}] ¦ [{}] ¦ [~]
  ¦ [{filePattern: a, verbosity: 2147483648}] ¦ [{filePattern: a, verbosity: 1, x: 2}] ¦ [{filePattern: 'a,b', verbosity: 1}]`);

/** What is wrong for its kind, or only looks so. */
export const ODD: Readonly<Record<Kind, fc.Arbitrary<string>>> = {
  on: SWITCH,
  period: DURATION,
  timeout: DURATION,
  number: NUMBER,
  text: TEXT,
  address: ADDRESS,
  listen: fc.oneof(LISTEN, ADDRESS),
  cidrs: CIDRS,
  excluded: CIDRS,
  pods: PODS,
  size: SIZE,
  gates: GATES,
  mode: oneOf('kernelspace ¦ userspace ¦ NFTables ¦ " nftables" ¦ 5'),
  localMode: oneOf('clustercidr ¦ "NodeCIDR " ¦ LocalModeNodeCIDR'),
  format: oneOf('JSON ¦ xml ¦ "text "'),
  version: oneOf("1.35 ¦ '1.36' ¦ '1.34' ¦ '1.35.0' ¦ v1.35 ¦ x"),
  flush: fc.oneof(DURATION, oneOf("-1 ¦ 1 ¦ 0.5 ¦ true ¦ 1e400")),
  level: fc.oneof(NUMBER, oneOf("-1 ¦ 1.5 ¦ '2'")),
  qps: NUMBER,
  vmodule: VMODULE,
};
