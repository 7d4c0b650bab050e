// SPDX-License-Identifier: Apache-2.0
// A KubeProxyConfiguration as settings. Fields it does not know, or has twice, are passed over and told; any other mistake
// is a problem, and all of them come at once.

import * as v from "valibot";
import { withPort } from "../checks.ts";
import { ConfigError, type ConfigProblem, problemOf } from "../problem.ts";
import { type Config, HEALTHZ_PORT, METRICS_PORT, serverAddresses } from "../schema.ts";
import { EXTERNAL_IPS_GATE } from "./feature-gates.ts";
import type { KubeProxySection } from "./kept.ts";
import { validate } from "./validation.ts";
import { logLevelOf } from "./verbosity.ts";
import { API_VERSION, activeSection, KIND, type Wire, wireSchema } from "./wire-schema.ts";

export interface KubeProxySource {
  readonly file: string;
  /** The file's content. */
  readonly value: object;
  /** Keys that stand there twice. */
  readonly duplicates: readonly string[];
  /** Other documents follow. */
  readonly continues: boolean;
  /** For what kube-proxy has no word for. */
  readonly defaults: Config;
}

/** Throws ConfigError. */
export function parseKubeProxy({ file, value, duplicates, continues, defaults }: KubeProxySource): {
  readonly config: Config;
  readonly notes: readonly string[];
} {
  const unknown: string[] = [];
  const wire = checkedWire(file, prune(wireSchema, value, "", unknown));
  return {
    config: configOf(wire, defaults),
    notes: [
      ...unknown.map((path) => `${file}: unknown field ${path} is ignored`),
      ...duplicates.map((path) => `${file}: field ${path} stands there twice; the last one counts`),
      ...(continues ? [`${file}: only the first of its documents counts`] : []),
    ],
  };
}

function checkedWire(file: string, value: unknown): Wire {
  const result = v.safeParse(wireSchema, value);
  const problems: ConfigProblem[] = (result.issues ?? []).map((issue) =>
    problemOf(issue, `a file begins with apiVersion: ${API_VERSION}, kind: ${KIND}`),
  );
  // What is of the wrong type is left out, so that the rest can be judged too.
  const rest = result.success ? result : v.safeParse(wireSchema, without(value, result.issues));
  if (rest.success) problems.push(...validate(rest.output));
  if (!result.success || problems.length > 0) throw new ConfigError(file, problems);
  return result.output;
}

/** A copy without the keys that the schema does not have; their paths go to `unknown`. */
function prune(schema: object, value: unknown, path: string, unknown: string[]): unknown {
  const at = (key: string | number): string => (path === "" ? `${key}` : `${path}.${key}`);
  if ("wrapped" in schema) return prune(schema.wrapped as object, value, path, unknown);
  if (Array.isArray(value) && "item" in schema)
    return value.map((item, i) => prune(schema.item as object, item, at(i), unknown));
  // A list would pass for an object without any of its fields.
  if (Array.isArray(value) && ("entries" in schema || "key" in schema)) return "a list";
  if (!("entries" in schema) || typeof value !== "object" || value === null) return value;
  const entries = schema.entries as Readonly<Record<string, object>>;
  const known: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const entry = Object.hasOwn(entries, key) ? entries[key] : undefined;
    if (entry === undefined) unknown.push(at(key));
    else known[key] = prune(entry, item, at(key), unknown);
  }
  return known;
}

/** A copy without the fields that the issues name; of a list, without all of it. */
function without(value: unknown, issues: readonly v.BaseIssue<unknown>[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const { path = [] } of issues) {
    const keys = path.map(({ key }) => key);
    const list = keys.findIndex((key) => typeof key === "number");
    const leaf = list < 0 ? keys : keys.slice(0, list);
    const parent = leaf.slice(0, -1).reduce<unknown>((object, key) => member(object, key), copy);
    const last = leaf.at(-1);
    if (typeof parent === "object" && parent !== null && typeof last === "string") Reflect.deleteProperty(parent, last);
  }
  if (typeof copy === "object" && copy !== null) Object.assign(copy, { apiVersion: API_VERSION, kind: KIND });
  return copy;
}

const member = (object: unknown, key: unknown): unknown =>
  typeof object === "object" && object !== null && typeof key === "string" ? Reflect.get(object, key) : undefined;

/** The settings that a checked file asks for. */
function configOf(wire: Wire, defaults: Config): Config {
  const { syncPeriod, minSyncPeriod } = wire[activeSection(wire.mode)];
  return {
    ...defaults,
    kubeconfig: wire.clientConnection.kubeconfig || null,
    hostnameOverride: wire.hostnameOverride || null,
    mode: wire.mode,
    localhostNodePorts: activeSection(wire.mode) === "iptables" && wire.iptables.localhostNodePorts,
    nodePortAddresses: wire.nodePortAddresses,
    allowServiceExternalIps: wire.featureGates[EXTERNAL_IPS_GATE] ?? true,
    masqueradeAll: wire.mode === "nftables" ? wire.nftables.masqueradeAll : wire.iptables.masqueradeAll,
    detectLocalMode: wire.detectLocalMode,
    detectLocal: wire.detectLocal,
    clusterCidrs: wire.clusterCIDR === "" ? [] : wire.clusterCIDR.split(","),
    syncPeriodSec: syncPeriod,
    minSyncPeriodSec: minSyncPeriod,
    configSyncPeriodSec: wire.configSyncPeriod,
    bindAddress: wire.bindAddress,
    bindAddressHardFail: wire.bindAddressHardFail,
    ...serverAddresses(
      wire.bindAddress,
      withPort(wire.healthzBindAddress, HEALTHZ_PORT) || null,
      withPort(wire.metricsBindAddress, METRICS_PORT) || null,
    ),
    enableProfiling: wire.enableProfiling,
    oomScoreAdj: wire.oomScoreAdj,
    conntrack: conntrackOf(wire),
    logLevel: logLevelOf(wire.logging.verbosity),
    logFormat: wire.logging.format,
    kubeProxy: kept(wire),
  };
}

function conntrackOf({ conntrack: asked }: Wire): Config["conntrack"] {
  return {
    maxPerCore: asked.maxPerCore,
    min: asked.min,
    tcpEstablishedTimeoutSec: asked.tcpEstablishedTimeout,
    tcpCloseWaitTimeoutSec: asked.tcpCloseWaitTimeout,
    tcpBeLiberal: asked.tcpBeLiberal || null,
    udpTimeoutSec: asked.udpTimeout || null,
    udpStreamTimeoutSec: asked.udpStreamTimeout || null,
  };
}

function kept(wire: Wire): KubeProxySection {
  const { kubeconfig: _, ...clientConnection } = wire.clientConnection;
  const { format: __, ...logging } = wire.logging;
  const { syncPeriod: ___, minSyncPeriod: ____, ...ipvs } = wire.ipvs;
  return {
    featureGates: wire.featureGates,
    clientConnection,
    logging,
    showHiddenMetricsForVersion: wire.showHiddenMetricsForVersion,
    iptables: {
      masqueradeBit: wire.iptables.masqueradeBit,
      localhostNodePorts: activeSection(wire.mode) === "iptables" || wire.iptables.localhostNodePorts,
    },
    ipvs,
    nftables: { masqueradeBit: wire.nftables.masqueradeBit },
    winkernel: wire.winkernel,
    windowsRunAsService: wire.windowsRunAsService,
  };
}
