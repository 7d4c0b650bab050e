// SPDX-License-Identifier: Apache-2.0
// What may stand in a PortolanConfiguration, with every default. Reading files is config.ts' part.

import { isIPv6 } from "node:net";
import * as v from "valibot";
import { canonicalAddress } from "../model/address.ts";
import { absolutePath, address, cidr, isCidr, isListenAddress, isSource, seconds, whole, withPort } from "./checks.ts";
import { kubeProxySection } from "./kube-proxy/kept.ts";

export const HEALTHZ_PORT = 10_256;
export const METRICS_PORT = 10_249;

/** 128 times what ten thousand Services need; memory is taken for every entry of an array. */
const size = whole(2, 2 ** 24);

/** Entries of the maps; pages, powers of two and the kernel's limits are checked here so that load cannot surprise. */
const mapSizes = v.strictObject({
  /** ServicePorts, one for each family. */
  units: v.nullish(size, 131_072),
  /** Address, port and protocol combinations. */
  frontends: v.nullish(size, 262_144),
  /** Endpoints, counted once for each ServicePort. */
  backends: v.nullish(size, 524_288),
  /** Places in the extents that are chosen from. */
  slots: v.nullish(v.pipe(whole(2, 2 ** 26), v.multipleOf(1024, "must be a multiple of 1024")), 1_048_576),
  /** Connected sockets whose peer is remembered without a hash. */
  sockets: v.nullish(
    v.pipe(
      size,
      v.check((n) => Number.isInteger(Math.log2(n)), "must be a power of two"),
    ),
    65_536,
  ),
  affinity: v.nullish(size, 65_536),
  udpPeers: v.nullish(size, 32_768),
  /** Prefixes of loadBalancerSourceRanges, counted once for each ServicePort; memory is taken only for what is there. */
  sourceRanges: v.nullish(size, 65_536),
});

/** Without a default of kube-proxy's, nothing and "leave it alone" are the same. */
const nothingAsNull = <T>(value: T | null): T | null => value || null;

/** Settings of the kernel's connection tracking; null leaves a sysctl alone, and so does 0. */
const conntrack = v.strictObject({
  /** nf_conntrack_max is this times the CPUs, or `min` if that is more. */
  maxPerCore: v.optional(v.nullable(whole(0, 2 ** 31 - 1)), null),
  min: v.optional(v.nullable(whole(0, 2 ** 31 - 1)), null),
  tcpEstablishedTimeoutSec: v.optional(v.nullable(seconds(0)), null),
  tcpCloseWaitTimeoutSec: v.optional(v.nullable(seconds(0)), null),
  tcpBeLiberal: v.pipe(v.optional(v.nullable(v.boolean()), null), v.transform(nothingAsNull)),
  udpTimeoutSec: v.pipe(v.optional(v.nullable(seconds(0)), null), v.transform(nothingAsNull)),
  udpStreamTimeoutSec: v.pipe(v.optional(v.nullable(seconds(0)), null), v.transform(nothingAsNull)),
});

/** Devices that tell a pod of this node, for two of the values of detectLocalMode. */
const detectLocal = v.strictObject({
  bridgeInterface: v.nullish(v.string(), ""),
  interfaceNamePrefix: v.nullish(v.string(), ""),
});

/** Sockets of endpoints that are gone: UDP always lets go of them. */
const deadPeers = v.strictObject({
  /** Reset TCP connections too. */
  tcp: v.nullish(v.boolean(), false),
  /** auto: in every network namespace of the node if the capabilities allow it. */
  otherNamespaces: v.nullish(v.picklist(["auto", "never"], 'must be "auto" or "never"'), "auto"),
});

const nodePortAddresses = v.pipe(
  v.array(v.string()),
  v.checkItems((item) => item === "primary" || isCidr(item), 'must be a CIDR, as "10.0.0.0/8", or "primary"'),
  v.check((items) => items.length === 1 || !items.includes("primary"), '"primary" stands alone'),
);

const serverAddress = (port: number, more: readonly string[], leastPort: number) =>
  v.optional(
    v.nullable(
      v.pipe(
        v.string(),
        v.transform((text) => withPort(text, port)),
        v.check(
          (text) => more.includes(text) || isListenAddress(text, leastPort),
          `must be IP:port, as "0.0.0.0:${port}"`,
        ),
      ),
    ),
    null,
  );

/** The node and the API server, and what portolan has on this node. */
const places = {
  source: v.nullish(v.pipe(v.string(), v.check(isSource, 'must be "kubernetes" or "dir:PATH"')), "kubernetes"),
  kubeconfig: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1, "must not be empty"))), null),
  apiServers: v.nullish(v.array(v.pipe(v.string(), v.regex(/^https?:\/\/[^/\s]+$/, "must be https://HOST:PORT"))), []),
  hostnameOverride: v.optional(v.nullable(v.pipe(v.string(), v.regex(/\S/, "must not be blank"))), null),
  serviceProxyName: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1, "must not be empty"))), null),
  cgroup: v.optional(v.nullable(absolutePath), null),
  bpffs: v.nullish(absolutePath, "/sys/fs/bpf"),
  runDir: v.nullish(absolutePath, "/run/portolan"),
  stateDir: v.nullish(absolutePath, "/var/lib/portolan"),
  replacement: v.nullish(v.picklist(["strict", "probe"], 'must be "strict" or "probe"'), "strict"),
  mapSizes: v.nullish(mapSizes, {}),
};

/** What is served, and to whom. */
const serving = {
  mode: v.nullish(v.picklist(["", "iptables", "ipvs", "nftables"], "must be iptables, ipvs or nftables"), ""),
  bindGuard: v.nullish(v.boolean(), true),
  localhostNodePorts: v.nullish(v.boolean(), true),
  reserveNodePorts: v.nullish(v.boolean(), true),
  nodePortAddresses: v.optional(v.nullable(nodePortAddresses), null),
  allowServiceExternalIps: v.nullish(v.boolean(), true),
  externalIpsAllowed: v.optional(v.nullable(v.array(cidr)), null),
  masqueradeAll: v.nullish(v.boolean(), false),
  detectLocalMode: v.nullish(
    v.picklist(
      ["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"],
      "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
    ),
    "ClusterCIDR",
  ),
  detectLocal: v.nullish(detectLocal, {}),
  clusterCidrs: v.nullish(v.array(cidr), []),
  deadPeers: v.nullish(deadPeers, {}),
};

/** When the agent does what, and what it tells whom. */
const operation = {
  syncPeriodSec: v.nullish(seconds(1e-9), 30),
  minSyncPeriodSec: v.nullish(seconds(0), 1),
  configSyncPeriodSec: v.nullish(seconds(1e-9), 900),
  /** Well below the 24 days that a timer can wait. */
  auditPeriodSec: v.nullish(seconds(1, 86_400), 30),
  confirmMassDeletion: v.nullish(v.boolean(), true),
  bindAddress: v.nullish(address, "0.0.0.0"),
  bindAddressHardFail: v.nullish(v.boolean(), false),
  healthzBindAddress: serverAddress(HEALTHZ_PORT, ["none"], 1),
  /** Port 0: any that is free; `portolan status -o json` says which. */
  metricsBindAddress: serverAddress(METRICS_PORT, [], 0),
  enableProfiling: v.nullish(v.boolean(), false),
  events: v.nullish(v.boolean(), true),
  oomScoreAdj: v.nullish(whole(-1000, 1000), -999),
  conntrack: v.nullish(conntrack, {}),
  logLevel: v.nullish(
    v.picklist(["trace", "debug", "info", "warn", "error"], "must be trace, debug, info, warn or error"),
    "info",
  ),
  logFormat: v.optional(v.nullable(v.picklist(["json", "text"], 'must be "json" or "text"')), null),
  kubeProxy: v.nullish(kubeProxySection, {}),
};

/** The file's form. `null` anywhere means the default. */
export const portolanConfiguration = v.pipe(
  v.strictObject({
    apiVersion: v.literal("portolan.io/v1alpha1"),
    kind: v.literal("PortolanConfiguration"),
    ...places,
    ...serving,
    ...operation,
  }),
  v.forward(
    v.check(
      ({ syncPeriodSec, minSyncPeriodSec }) => syncPeriodSec >= minSyncPeriodSec,
      "must not be less than minSyncPeriodSec",
    ),
    ["syncPeriodSec"],
  ),
  v.forward(
    v.check(
      ({ detectLocalMode, detectLocal: { bridgeInterface } }) =>
        detectLocalMode !== "BridgeInterface" || bridgeInterface !== "",
      "must not be empty in detectLocalMode BridgeInterface",
    ),
    ["detectLocal", "bridgeInterface"],
  ),
  v.forward(
    v.check(
      ({ detectLocalMode, detectLocal: { interfaceNamePrefix } }) =>
        detectLocalMode !== "InterfaceNamePrefix" || interfaceNamePrefix !== "",
      "must not be empty in detectLocalMode InterfaceNamePrefix",
    ),
    ["detectLocal", "interfaceNamePrefix"],
  ),
  v.transform(({ healthzBindAddress, metricsBindAddress, ...settings }) => ({
    ...settings,
    ...serverAddresses(settings.bindAddress, healthzBindAddress, metricsBindAddress),
  })),
);

/** "::ffff:10.0.0.1": an IPv4 address in IPv6 clothes. */
const isMapped = (address: string): boolean => canonicalAddress(address)?.startsWith("::ffff:") ?? false;

/** Where the servers listen: of the family of bindAddress if nothing else was said. */
export function serverAddresses(bindAddress: string, healthz: string | null, metrics: string | null) {
  const [any, loopback] = isIPv6(bindAddress) && !isMapped(bindAddress) ? ["[::]", "[::1]"] : ["0.0.0.0", "127.0.0.1"];
  return {
    healthzBindAddress: healthz ?? `${any}:${HEALTHZ_PORT}`,
    metricsBindAddress: metrics ?? `${loopback}:${METRICS_PORT}`,
  };
}

/** The settings of one agent, complete: no default is decided anywhere else. */
export type Config = Omit<v.InferOutput<typeof portolanConfiguration>, "apiVersion" | "kind">;
/** What a file may say of them. */
export type ConfigInput = Omit<v.InferInput<typeof portolanConfiguration>, "apiVersion" | "kind">;
export type MapSizes = Config["mapSizes"];
