// SPDX-License-Identifier: Apache-2.0
// Random KubeProxyConfiguration files: right ones, ones with something odd in a field, and ones with something odd around it.

import fc from "fast-check";
import { type Kind, NOTHING, ODD, oneOf, RIGHT } from "./kube-proxy-values.ts";

/** Every field, by the kind of its value. */
const FIELDS: Readonly<Record<Kind, string>> = {
  on: `bindAddressHardFail enableProfiling windowsRunAsService iptables.masqueradeAll iptables.localhostNodePorts nftables.masqueradeAll ipvs.strictARP
    winkernel.enableDSR winkernel.forwardHealthCheckVip conntrack.tcpBeLiberal logging.options.text.splitStream logging.options.json.splitStream`,
  period: "iptables.syncPeriod nftables.syncPeriod ipvs.syncPeriod configSyncPeriod",
  timeout: `iptables.minSyncPeriod nftables.minSyncPeriod ipvs.minSyncPeriod ipvs.tcpTimeout ipvs.tcpFinTimeout ipvs.udpTimeout conntrack.udpTimeout
    conntrack.tcpEstablishedTimeout conntrack.tcpCloseWaitTimeout conntrack.udpStreamTimeout`,
  number:
    "iptables.masqueradeBit nftables.masqueradeBit oomScoreAdj conntrack.maxPerCore conntrack.min clientConnection.burst",
  text: `clientConnection.kubeconfig clientConnection.acceptContentTypes clientConnection.contentType hostnameOverride ipvs.scheduler portRange
    winkernel.networkName winkernel.sourceVip winkernel.rootHnsEndpointName detectLocal.bridgeInterface detectLocal.interfaceNamePrefix`,
  address: "bindAddress",
  listen: "healthzBindAddress metricsBindAddress",
  cidrs: "nodePortAddresses",
  excluded: "ipvs.excludeCIDRs",
  pods: "clusterCIDR",
  size: "logging.options.text.infoBufferSize logging.options.json.infoBufferSize",
  gates: "featureGates",
  mode: "mode",
  localMode: "detectLocalMode",
  format: "logging.format",
  version: "showHiddenMetricsForVersion",
  flush: "logging.flushFrequency",
  level: "logging.verbosity",
  qps: "clientConnection.qps",
  vmodule: "logging.vmodule",
};
const KINDS = Object.keys(FIELDS) as Kind[];
const pathsOf = (kind: Kind): string[] => FIELDS[kind].trim().split(/\s+/);
const SECTIONS =
  "clientConnection logging iptables nftables ipvs winkernel detectLocal conntrack logging.options".split(" ");
const PATHS = [...KINDS.flatMap(pathsOf), ...SECTIONS];

interface Line {
  readonly path: string;
  readonly value: string;
}

const filled = (values: Readonly<Record<Kind, fc.Arbitrary<string>>>): fc.Arbitrary<Line> =>
  fc
    .constantFrom(...KINDS.flatMap((kind) => pathsOf(kind).map((path) => ({ kind, path }))))
    .chain(({ kind, path }) => values[kind].map((value) => ({ path, value })));
const anywhere = (value: fc.Arbitrary<string>): fc.Arbitrary<Line> =>
  fc.record({ path: fc.constantFrom(...PATHS), value });
const right = filled(RIGHT);
const UNKNOWN = oneOf(
  "foo ¦ Mode ¦ MODE ¦ conntrack.max ¦ logging.x.y ¦ iptables.MasqueradeBit ¦ 1 ¦ true ¦ 'a b' ¦ 1.5 ¦ <<",
);
const odd: fc.Arbitrary<Line> = fc.oneof(
  { weight: 8, arbitrary: filled(ODD) },
  { weight: 2, arbitrary: anywhere(NOTHING) },
  { weight: 2, arbitrary: anywhere(fc.oneof(...Object.values(ODD))) },
  { weight: 1, arbitrary: fc.record({ path: UNKNOWN, value: fc.oneof(NOTHING, RIGHT.text, RIGHT.cidrs) }) },
);
const fields = fc
  .tuple(fc.array(odd, { maxLength: 1 }), fc.array(right, { maxLength: 6 }))
  .map(([first, others]) => grown([...first, ...others]));

type Tree = Map<string, string | Tree>;

/** Lines below their sections; what has a value already keeps that. */
function grown(lines: readonly Line[]): Tree {
  const root: Tree = new Map();
  for (const { path, value } of lines) {
    const keys = path.startsWith("'") || /^\d/.test(path) ? [path] : path.split(".");
    const last = keys.pop() ?? "";
    const tree = keys.reduce<Tree | null>((above, key) => (above === null ? null : below(above, key)), root);
    if (tree !== null && !tree.has(last)) tree.set(last, value);
  }
  return root;
}

function below(tree: Tree, key: string): Tree | null {
  const known = tree.get(key);
  if (known !== undefined) return typeof known === "string" ? null : known;
  const made: Tree = new Map();
  tree.set(key, made);
  return made;
}

const block = (tree: Tree, indent = ""): string =>
  [...tree]
    .map(([key, value]) =>
      typeof value === "string" ? `${indent}${key}: ${value}\n` : `${indent}${key}:\n${block(value, `${indent}  `)}`,
    )
    .join("");
const flow = (value: string | Tree): string =>
  typeof value === "string" ? value : `{${[...value].map(([key, inner]) => `${key}: ${flow(inner)}`).join(", ")}}`;
/** Top level in block style, sections in flow style. */
const mixed = (tree: Tree): string => [...tree].map(([key, value]) => `${key}: ${flow(value)}\n`).join("");

const API = "kubeproxy.config.k8s.io/v1alpha1";
const HEADER = `apiVersion: ${API}\nkind: KubeProxyConfiguration\n`;
const oddHeader = fc.constantFrom(
  ...["", `apiVersion: ${API}\n`, "kind: KubeProxyConfiguration\n", HEADER + HEADER, HEADER.replace("v1alpha1", "v1")],
  ...[HEADER.replace(API, `"${API}"`), HEADER.replace(API, `" ${API}"`), HEADER.replace("KubeP", "kubeP")],
);

const EARLY = oneOf("---⏎ ¦ # comment⏎ ¦ %YAML 1.1⏎---⏎ ¦ ⏎⏎ ¦ \ufeff ¦ ---␣⏎ ¦ ---⏎---⏎ ¦ ␣ ¦ %FOO⏎---⏎");
const LATE =
  oneOf(`---⏎mode: nftables⏎ ¦ ---⏎ ¦ ...⏎ ¦ ---⏎*a: [⏎ ¦ ⏎⏎# end ¦ ␣⇥⏎ ¦ mode: nftables⏎ ¦ mode: ipvs⏎mode: iptables⏎ ¦ iptables: {syncPeriod: 7s}⏎
  ¦ ? a⏎: b⏎ ¦ x: &a 5⏎oomScoreAdj: *a⏎ ¦ oomScoreAdj: *b⏎ ¦ x: &c {min: 5}⏎conntrack: *c⏎ ¦ x: &c {min: 5}⏎conntrack: {<<: *c, maxPerCore: 1}⏎
  ¦ conntrack: {<<: {min: 3}}⏎ ¦ <<: {oomScoreAdj: 3}⏎ ¦ ⇥mode: ipvs⏎ ¦ ␣mode: ipvs⏎ ¦ foo bar⏎ ¦ 'mode': ipvs⏎ ¦ "mo\\u0064e": ipvs⏎ ¦ mode : ipvs⏎ ¦ mode:ipvs⏎
  ¦ mode:⇥ipvs⏎ ¦ mode: ipvs # x⏎ ¦ mode: ipvs# x⏎ ¦ mode:⏎  ipvs⏎ ¦ mode: !!str ipvs⏎ ¦ mode: &m ipvs⏎ ¦ conntrack: &r {min: *r}⏎ ¦ a: b: c⏎ ¦ x: !foo bar⏎
  ¦ nodePortAddresses:⏎- 10.0.0.0/8⏎ ¦ nodePortAddresses:⏎  - 10.0.0.0/8⏎  -⏎ ¦ mode: [⏎ ¦ mode: 'x⏎ ¦ hostnameOverride: |+⏎  a⏎⏎ ¦ hostnameOverride: >⏎  a⏎  b⏎
  ¦ hostnameOverride: "a⏎  b"⏎ ¦ hostnameOverride: a⏎  b⏎ ¦ x: {a, b: c}⏎ ¦ featureGates: {WatchListClient}⏎ ¦ ? oomScoreAdj⏎: 5⏎ ¦ 1: 2⏎ ¦ 1.5: 2⏎ ¦ true: 1⏎`);

type Twist = (text: string) => string;
const same: fc.Arbitrary<Twist> = fc.constant((text) => text);
const twist: fc.Arbitrary<Twist> = fc.oneof(
  {
    weight: 4,
    arbitrary: LATE.map(
      (late): Twist =>
        (text) =>
          text + late,
    ),
  },
  {
    weight: 2,
    arbitrary: EARLY.map(
      (early): Twist =>
        (text) =>
          early + text,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("\r\n", "\r").map(
      (end): Twist =>
        (text) =>
          text.replaceAll("\n", end),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.nat().map(
      (at): Twist =>
        (text) =>
          text.slice(0, at % (text.length + 1)),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.nat().map(
      (at): Twist =>
        (text) => {
          const lines = text.split("\n");
          return `${text}${lines[at % lines.length] ?? ""}\n`;
        },
    ),
  },
);

const yaml = fc
  .tuple(
    fc.oneof({ weight: 30, arbitrary: fc.constant(HEADER) }, oddHeader),
    fields,
    fc.constantFrom(block, mixed),
    fc.oneof({ weight: 3, arbitrary: same }, twist),
  )
  .map(([header, tree, style, twisted]) => twisted(header + style(tree)));

const JSON_VALUE =
  oneOf(`null ¦ true ¦ false ¦ 0 ¦ 1 ¦ -1 ¦ 5 ¦ 5.5 ¦ 2147483648 ¦ "" ¦ "0s" ¦ "30s" ¦ "1h" ¦ "a" ¦ [] ¦ {} ¦ "10.0.0.1" ¦ "::1" ¦ "10.0.0.0/8"
  ¦ ["10.0.0.0/8"] ¦ ["primary"] ¦ "nftables" ¦ "NodeCIDR" ¦ "10.0.0.1:80" ¦ {"WatchListClient":true} ¦ "\\u0041" ¦ "\\/"`);
const quoted = (value: string | Tree): string =>
  typeof value === "string"
    ? value
    : `{${[...value].map(([key, inner]) => `${JSON.stringify(key)}:${quoted(inner)}`).join(",")}}`;
const json = fc
  .array(fc.record({ path: fc.constantFrom(...PATHS, "foo", "Mode"), value: JSON_VALUE }), { maxLength: 4 })
  .map((lines) => {
    const header = [{ path: "kind", value: '"KubeProxyConfiguration"' }];
    return `{"apiVersion":"${API}",${quoted(grown([...header, ...lines])).slice(1)}\n`;
  });

/** The text of a file. */
export const configurationFile: fc.Arbitrary<string> = fc.oneof({ weight: 8, arbitrary: yaml }, json);
