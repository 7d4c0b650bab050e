// SPDX-License-Identifier: Apache-2.0
// kube-proxy's flags: what each means for the settings. A row a flag, in the order in which they are applied.

import { isAddress, isCidr, isListenAddress, withPort } from "../config/checks.ts";
import { EXTERNAL_IPS_GATE, gateProblem } from "../config/kube-proxy/feature-gates.ts";
import { logLevelOf } from "../config/kube-proxy/verbosity.ts";
import { type ConfigInput, HEALTHZ_PORT, METRICS_PORT, serverAddresses } from "../config/schema.ts";
import { INERT_FLAGS } from "./inert-flags.ts";
import {
  between,
  type Check,
  duration,
  flag,
  fromZero,
  integer,
  integerOf,
  items,
  list,
  logging,
  notNegative,
  onOff,
  type ProxyFlag,
  secondsOf,
} from "./proxy-flag.ts";
import { oneOf, switchValue } from "./usage.ts";

const server =
  (port: number, leastPort: number): Check =>
  (value) =>
    isListenAddress(withPort(value, port), leastPort) ? null : `must be IP or IP:port, is "${value}"`;
const isIpvs = ({ mode }: ConfigInput): boolean => mode === "ipvs";
const isIptables = ({ mode }: ConfigInput): boolean => mode !== "ipvs" && mode !== "nftables";

const MODES = ["iptables", "ipvs", "nftables"] as const;
const LOCAL_MODES = ["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"] as const;

function gatesOf(value: string): readonly (readonly [name: string, on: boolean | null])[] {
  return items(value).map((item) => {
    const [name = "", ...on] = item.split("=");
    return [name.trim(), switchValue(on.join("=").trim())];
  });
}

const gateForm: Check = (value) =>
  gatesOf(value).some(([, on]) => on === null) ? `must be NAME=true or NAME=false, is "${value}"` : null;

const gateNames: Check = (value) => {
  for (const [name, on] of gatesOf(value)) {
    const problem = gateProblem(name, on === true);
    if (problem !== null) return `${name} ${problem}`;
  }
  return null;
};

const nodePortCheck: Check = (value) => {
  const wrong = items(value).find((item) => item !== "primary" && !isCidr(item));
  if (wrong !== undefined) return `must be CIDRs or primary, is "${wrong}"`;
  return items(value).includes("primary") && items(value).length > 1 ? "primary stands alone" : null;
};

const clusterCidrCheck: Check = (value) => {
  const cidrs = value.split(",");
  const families = new Set(cidrs.map((cidr) => cidr.includes(":")));
  return cidrs.every(isCidr) && families.size === cidrs.length
    ? null
    : `must be one CIDR, or one of each family with a comma between, is "${value}"`;
};

const MODE_FLAGS: readonly ProxyFlag[] = [
  flag({
    name: "proxy-mode",
    value: "MODE",
    what: "iptables (default), ipvs or nftables: whose defaults hold",
    judge: (value) => oneOf(value, MODES),
    fields: (value) => ({
      mode: MODES.find((mode) => mode === value),
      ...(value === "iptables" ? {} : { localhostNodePorts: false }),
    }),
  }),
  flag({
    name: "iptables-sync-period",
    value: "DURATION",
    what: "unhealthy if a change has waited for twice as long (default: 30s)",
    check: duration,
    fields: (value, sofar) => (isIpvs(sofar) ? {} : { syncPeriodSec: secondsOf(value) }),
  }),
  flag({
    name: "iptables-min-sync-period",
    value: "DURATION",
    what: "a change is programmed at once whatever it says (default: 1s)",
    check: duration,
    fields: (value, sofar) => (isIpvs(sofar) ? {} : { minSyncPeriodSec: secondsOf(value) }),
  }),
  flag({
    name: "ipvs-sync-period",
    value: "DURATION",
    what: "the same for --proxy-mode ipvs",
    check: duration,
    fields: (value, sofar) => (isIpvs(sofar) ? { syncPeriodSec: secondsOf(value) } : {}),
  }),
  flag({
    name: "ipvs-min-sync-period",
    value: "DURATION",
    what: "the same for --proxy-mode ipvs",
    check: duration,
    fields: (value, sofar) => (isIpvs(sofar) ? { minSyncPeriodSec: secondsOf(value) } : {}),
  }),
  onOff(
    "iptables-localhost-nodeports",
    "NodePorts on loopback addresses, in mode iptables (default: true)",
    (on, sofar) =>
      isIptables(sofar) ? { localhostNodePorts: on } : { kubeProxy: { iptables: { localhostNodePorts: on } } },
  ),
  onOff("masquerade-all", "no effect on callers of this node: their sockets keep their addresses", (on) => ({
    masqueradeAll: on,
  })),
];

const CLUSTER_FLAGS: readonly ProxyFlag[] = [
  flag({
    name: "detect-local-mode",
    value: "MODE",
    what: `how traffic of this node's pods is told: ${LOCAL_MODES.join(", ")} (default: ClusterCIDR)`,
    judge: (value) => oneOf(value, LOCAL_MODES),
    fields: (value) => ({ detectLocalMode: LOCAL_MODES.find((mode) => mode === value) }),
  }),
  flag({
    name: "pod-bridge-interface",
    value: "NAME",
    what: "the pods' bridge, for detect-local-mode BridgeInterface",
    fields: (value) => ({ detectLocal: { bridgeInterface: value } }),
  }),
  flag({
    name: "pod-interface-name-prefix",
    value: "PREFIX",
    what: "how the pods' devices are named, for detect-local-mode InterfaceNamePrefix",
    fields: (value) => ({ detectLocal: { interfaceNamePrefix: value } }),
  }),
  flag({
    name: "cluster-cidr",
    value: "CIDR[,CIDR]",
    what: "where pods' addresses come from",
    // In the other modes nobody looks at it.
    judge: (value, { detectLocalMode }) =>
      (detectLocalMode ?? "ClusterCIDR") === "ClusterCIDR" ? clusterCidrCheck(value) : null,
    fields: (value) => ({ clusterCidrs: value.split(",").filter(isCidr) }),
  }),
  flag({
    name: "nodeport-addresses",
    value: "CIDR,…",
    what: "node addresses that NodePorts answer on: CIDRs, or primary (default: all; mode nftables: primary)",
    judge: nodePortCheck,
    fields: (value) => ({ nodePortAddresses: items(value) }),
    more: list,
  }),
  flag({
    name: "feature-gates",
    value: "NAME=BOOL,…",
    what: `${EXTERNAL_IPS_GATE}=false: externalIPs are not served; others have no effect`,
    check: gateForm,
    judge: gateNames,
    fields: (value) => {
      const featureGates = Object.fromEntries(gatesOf(value).map(([name, on]) => [name, on === true]));
      return { allowServiceExternalIps: featureGates[EXTERNAL_IPS_GATE], kubeProxy: { featureGates } };
    },
    more: list,
  }),
  flag({
    name: "config-sync-period",
    value: "DURATION",
    what: "no effect: objects are followed by watches (default: 15m)",
    check: duration,
    fields: (value) => ({ configSyncPeriodSec: secondsOf(value) }),
  }),
];

const SERVER_FLAGS: readonly ProxyFlag[] = [
  flag({
    name: "bind-address",
    value: "IP",
    what: "the node's primary address (default: 0.0.0.0: the Node object's)",
    check: (value) => (isAddress(value) ? null : `must be an IP address, is "${value}"`),
    // Unlike a file's, a flag's family is not the servers': kube-proxy has their defaults before it reads its flags.
    fields: (value) => ({ bindAddress: value, ...serverAddresses("0.0.0.0", null, null) }),
  }),
  onOff("bind-address-hard-fail", "end if a server cannot listen", (on) => ({ bindAddressHardFail: on })),
  flag({
    name: "healthz-bind-address",
    value: "IP[:PORT]",
    what: "the health server (default: 0.0.0.0:10256)",
    check: server(HEALTHZ_PORT, 0),
    judge: server(HEALTHZ_PORT, 1),
    fields: (value) => ({ healthzBindAddress: value }),
  }),
  flag({
    name: "healthz-port",
    value: "PORT",
    what: "its port, if the address has none; 0: no health server",
    check: integer,
    fields: (value, { healthzBindAddress }) => {
      if (integerOf(value) === 0) return { healthzBindAddress: "none" };
      return { healthzBindAddress: healthzBindAddress ? withPort(healthzBindAddress, integerOf(value)) : null };
    },
    more: { hidden: true },
  }),
  flag({
    name: "metrics-bind-address",
    value: "IP[:PORT]",
    what: "the metrics server (default: 127.0.0.1:10249)",
    check: server(METRICS_PORT, 0),
    judge: server(METRICS_PORT, 1),
    fields: (value) => ({ metricsBindAddress: value }),
  }),
  flag({
    name: "metrics-port",
    value: "PORT",
    what: "its port, if the address has none",
    check: integer,
    judge: (value) => (integerOf(value) === 0 ? "must not be 0: there is no doing without it" : null),
    fields: (value, { metricsBindAddress }) => ({
      metricsBindAddress: metricsBindAddress ? withPort(metricsBindAddress, integerOf(value)) : null,
    }),
    more: { hidden: true },
  }),
  onOff("profiling", "serve /debug/flags/v and V8's profiles on the metrics server", (on) => ({ enableProfiling: on })),
];

const conntrackNumber = (name: string, what: string, field: "maxPerCore" | "min"): ProxyFlag =>
  flag({
    name,
    what,
    value: "N",
    check: integer,
    judge: fromZero,
    fields: (value) => ({ conntrack: { [field]: integerOf(value) } }),
  });

const conntrackTimeout = (name: string, field: string): ProxyFlag =>
  flag({
    name,
    what: "0: left alone",
    value: "DURATION",
    check: duration,
    judge: notNegative,
    fields: (value) => ({ conntrack: { [field]: secondsOf(value) } }),
  });

const SYSTEM_FLAGS: readonly ProxyFlag[] = [
  flag({
    name: "oom-score-adj",
    value: "N",
    what: "-1000 to 1000 (default: -999)",
    check: integer,
    judge: between(-1000, 1000),
    fields: (value) => ({ oomScoreAdj: integerOf(value) }),
  }),
  conntrackNumber("conntrack-max-per-core", "nf_conntrack_max for each CPU; 0: left alone", "maxPerCore"),
  conntrackNumber("conntrack-min", "nf_conntrack_max at least", "min"),
  conntrackTimeout("conntrack-tcp-timeout-established", "tcpEstablishedTimeoutSec"),
  conntrackTimeout("conntrack-tcp-timeout-close-wait", "tcpCloseWaitTimeoutSec"),
  onOff("conntrack-tcp-be-liberal", "set nf_conntrack_tcp_be_liberal", (on) => ({ conntrack: { tcpBeLiberal: on } })),
  conntrackTimeout("conntrack-udp-timeout", "udpTimeoutSec"),
  conntrackTimeout("conntrack-udp-timeout-stream", "udpStreamTimeoutSec"),
];

/** Verbosity is read to base ten, and is never negative. */
const level: Check = (value) =>
  /^\d+$/.test(value) && Number(value) < 2 ** 31 ? null : `must be a whole number from 0 on, is "${value}"`;

const LOGGING_FLAGS: readonly ProxyFlag[] = [
  {
    ...flag({
      name: "v",
      what: "verbosity: 0 to 3 info, 4 and 5 debug, from 6 on trace",
      check: level,
      fields: (value) => ({
        logLevel: logLevelOf(Number(value)),
        kubeProxy: { logging: { verbosity: Number(value) } },
      }),
      more: logging,
    }),
    flags: "-v, --v <LEVEL>",
    mayBeEmpty: false,
  },
  flag({
    name: "logging-format",
    value: "FORMAT",
    what: "text or json",
    judge: (value) => oneOf(value, ["text", "json"]),
    fields: (value) => ({ logFormat: value === "text" ? "text" : "json" }),
    more: { ...logging, mayBeEmpty: false },
  }),
];

/** All of kube-proxy's flags but those that portolan has under the same name, and those that are no settings. */
export const PROXY_FLAGS: readonly ProxyFlag[] = [
  ...MODE_FLAGS,
  ...CLUSTER_FLAGS,
  ...SERVER_FLAGS,
  ...SYSTEM_FLAGS,
  ...LOGGING_FLAGS,
  ...INERT_FLAGS,
];
