// SPDX-License-Identifier: Apache-2.0
// What kube-proxy 1.36 refuses in a configuration whose fields are all of the right type. Only what the mode reads counts.

import { isAddress, isCidr, isListenAddress, withPort } from "../checks.ts";
import type { ConfigProblem } from "../problem.ts";
import { HEALTHZ_PORT, METRICS_PORT } from "../schema.ts";
import { parseDuration } from "./duration.ts";
import { gateProblem } from "./feature-gates.ts";
import { gateIsOn, lackingGates } from "./gate-dependencies.ts";
import { activeSection, type Wire } from "./wire-schema.ts";

const PREVIOUS_MINOR = "1.35";

type Found = Iterable<readonly [path: string, message: string]>;
type Check = (wire: Wire) => Found;
type LoggingAndGates = Pick<Wire, "featureGates" | "logging">;

function* gates({ featureGates }: LoggingAndGates) {
  for (const [name, value] of Object.entries(featureGates)) {
    const problem = gateProblem(name, value);
    if (problem !== null) yield [`featureGates.${name}`, problem] as const;
  }
  for (const [gate, lacks] of lackingGates(featureGates))
    yield [`featureGates.${gate}`, `is on, and needs ${lacks.join(" and ")}, which is off`] as const;
}

function* modeSections({ mode, iptables, ipvs, nftables }: Wire) {
  const bit = ({ masqueradeBit }: { masqueradeBit: number }): boolean => masqueradeBit < 0 || masqueradeBit > 31;
  if (bit(iptables)) yield ["iptables.masqueradeBit", "must be 0 to 31"] as const;
  if (mode === "nftables" && bit(nftables)) yield ["nftables.masqueradeBit", "must be 0 to 31"] as const;
  if (mode !== "ipvs") return;
  for (const field of ["tcpTimeout", "tcpFinTimeout", "udpTimeout"] as const)
    if ((parseDuration(ipvs[field]) ?? 0) < 0) yield [`ipvs.${field}`, "must not be negative"] as const;
  for (const [i, item] of (ipvs.excludeCIDRs ?? []).entries())
    if (!isCidr(item)) yield [`ipvs.excludeCIDRs.${i}`, `must be a CIDR, is "${item}"`] as const;
}

function* periods(wire: Wire) {
  const section = activeSection(wire.mode);
  const { syncPeriod, minSyncPeriod } = wire[section];
  if (wire.configSyncPeriod <= 0) yield ["configSyncPeriod", "must be more than 0"] as const;
  if (syncPeriod <= 0) yield [`${section}.syncPeriod`, "must be more than 0"] as const;
  if (minSyncPeriod < 0) yield [`${section}.minSyncPeriod`, "must not be negative"] as const;
  if (minSyncPeriod > syncPeriod) yield [`${section}.syncPeriod`, "must not be less than minSyncPeriod"] as const;
}

function* addresses({ bindAddress, healthzBindAddress, metricsBindAddress, hostnameOverride }: Wire) {
  if (!isAddress(bindAddress)) yield ["bindAddress", `must be an IP address, is "${bindAddress}"`] as const;
  const servers = { healthzBindAddress, metricsBindAddress };
  for (const [field, value] of Object.entries(servers))
    if (value !== "" && !isListenAddress(withPort(value, field === "healthzBindAddress" ? HEALTHZ_PORT : METRICS_PORT)))
      yield [field, `must be IP:port, is "${value}"`] as const;
  if (hostnameOverride !== "" && hostnameOverride.trim() === "") yield ["hostnameOverride", "is only blanks"] as const;
}

function* nodePortAddresses({ nodePortAddresses: list }: Wire) {
  for (const [i, item] of (list ?? []).entries())
    if (item === "primary" ? list?.length !== 1 : !isCidr(item)) {
      const message = item === "primary" ? '"primary" stands alone' : `must be a CIDR or "primary", is "${item}"`;
      yield [`nodePortAddresses.${i}`, message] as const;
    }
}

function* detectLocal({ detectLocalMode, detectLocal: local, clusterCIDR }: Wire) {
  if (detectLocalMode === "BridgeInterface" && local.bridgeInterface === "")
    yield ["detectLocal.bridgeInterface", "must not be empty in detectLocalMode BridgeInterface"] as const;
  if (detectLocalMode === "InterfaceNamePrefix" && local.interfaceNamePrefix === "")
    yield ["detectLocal.interfaceNamePrefix", "must not be empty in detectLocalMode InterfaceNamePrefix"] as const;
  if (detectLocalMode === "ClusterCIDR" && !isClusterCidr(clusterCIDR))
    yield ["clusterCIDR", `must be one CIDR, or one of each family with a comma between, is "${clusterCIDR}"`] as const;
}

function isClusterCidr(text: string): boolean {
  if (text === "") return true;
  const cidrs = text.split(",");
  const families = new Set(cidrs.map((cidr) => cidr.includes(":")));
  return cidrs.every(isCidr) && families.size === cidrs.length;
}

function* numbers({ oomScoreAdj, clientConnection: { burst }, conntrack }: Wire) {
  if (oomScoreAdj < -1000 || oomScoreAdj > 1000)
    yield ["oomScoreAdj", `must be -1000 to 1000, is ${oomScoreAdj}`] as const;
  if (burst < 0) yield ["clientConnection.burst", "must not be negative"] as const;
  for (const [field, value] of Object.entries(conntrack))
    if (typeof value === "number" && value < 0) yield [`conntrack.${field}`, "must not be negative"] as const;
}

function* logging({ featureGates, logging: { format, flushFrequency, verbosity, vmodule, options } }: LoggingAndGates) {
  const flushed = typeof flushFrequency === "number" ? flushFrequency : parseDuration(flushFrequency);
  if (flushed !== null && flushed <= 0) yield ["logging.flushFrequency", "must be more than 0"] as const;
  if (verbosity < 0) yield ["logging.verbosity", "must not be negative"] as const;
  if (vmodule.length > 0 && format === "json") yield ["logging.vmodule", "goes with format text only"] as const;
  if (format === "json" && !gateIsOn("LoggingBetaOptions", featureGates))
    yield ["logging.format", "json needs the feature gate LoggingBetaOptions"] as const;
  for (const [name, { splitStream, infoBufferSize }] of Object.entries(options))
    if ((splitStream || infoBufferSize !== "0") && !gateIsOn("LoggingAlphaOptions", featureGates))
      yield [`logging.options.${name}`, "needs the feature gate LoggingAlphaOptions"] as const;
  for (const [i, { filePattern, verbosity: level }] of vmodule.entries()) {
    if (!/^[^=,]+$/.test(filePattern))
      yield [`logging.vmodule.${i}.filePattern`, "must be a pattern without = and ,"] as const;
    if (level < 0) yield [`logging.vmodule.${i}.verbosity`, "must not be negative"] as const;
  }
}

function* hiddenMetrics({ showHiddenMetricsForVersion: version }: Wire) {
  if (version !== "" && version !== PREVIOUS_MINOR)
    yield ["showHiddenMetricsForVersion", `must be empty or "${PREVIOUS_MINOR}", is "${version}"`] as const;
}

const CHECKS: readonly Check[] = [
  gates,
  modeSections,
  periods,
  addresses,
  nodePortAddresses,
  detectLocal,
  numbers,
  logging,
  hiddenMetrics,
];

const problems = (found: Found): ConfigProblem[] => [...found].map(([path, message]) => ({ path, message }));

/** Every value that kube-proxy would not start with. */
export const validate = (wire: Wire): ConfigProblem[] => CHECKS.flatMap((check) => problems(check(wire)));

/** What does not go together among gates and logging, wherever they were set. */
export const validateLogging = (set: LoggingAndGates): ConfigProblem[] => [
  ...problems(gates(set)),
  ...problems(logging(set)),
];
