// SPDX-License-Identifier: Apache-2.0
// Services by chance, of every form that means something to a proxy. Each has a number, from which come the addresses and
// NodePorts that are its own; now and then it asks for what is another's.

import type { Random } from "../support/random.ts";
import { NODE_ADDRESSES, SECOND_ADDRESSES } from "../support/world-network.ts";
import type { ApiObject } from "./api-client.ts";

export const NAMESPACE = "default";

export const serviceName = (slot: number): string => `svc-${slot}`;

export interface Port {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
}

const SHARED_ADDRESSES = ["203.0.113.1", "203.0.113.2", "2001:db8:3::1", ...SECOND_ADDRESSES];
/** What an API server lets in as a load balancer's address and no proxy should take for its own. */
const ODD_INGRESS = ["127.0.0.1", "169.254.9.9", "224.0.1.1", "::1", "fe80::9"];
const RANGES = [
  ["10.244.0.0/16", "10.244.1.0/24", "10.244.0.0/17", "10.244.128.0/17", "192.0.2.8/30", `${NODE_ADDRESSES[0]}/32`],
  ["203.0.113.0/24", " 192.0.2.0/24 ", "10.244.1.99/32", "0.0.0.0/0"],
  ["fd00:10:244::/48", "fd00:10:244:1::/64", "fd00:192:0:2::/64", `${NODE_ADDRESSES[1]}/128`, "2001:db8::/32", "::/0"],
].flat();

/** Never 0, which would be written otherwise. */
export const hex = (slot: number): string => (slot + 1).toString(16);
const v4Of = (slot: number): string => `10.96.${1 + (slot >> 7)}.${1 + (slot & 127)}`;
const v6Of = (slot: number): string => `fd00:96::${(0x100 + slot).toString(16)}`;

/** A Service as an API server takes it, most of the time; its status with it. */
export function randomService(random: Random, slot: number, slots: number): ApiObject {
  const name = serviceName(slot);
  const labels = random.maybe(0.03, "service.kubernetes.io/service-proxy-name", () => "mesh");
  const metadata = { name, namespace: NAMESPACE, labels };
  const shape = random.below(100);
  const ports = servicePorts(random);
  if (shape < 3) return service(metadata, { type: "ExternalName", externalName: "elsewhere.example" });
  if (shape < 6) return service(metadata, { type: "ClusterIP", clusterIP: "None", ports });
  const type = random.pick(["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"]);
  const externalIPs = random.chance(type === "ClusterIP" ? 0.4 : 0.2) ? externalAddresses(random, slot, slots) : [];
  const isExternal = type !== "ClusterIP" || externalIPs.length > 0;
  const spec = {
    type,
    ...families(random, slot),
    ports: type === "ClusterIP" ? ports : withNodePorts(random, ports, slot, type),
    externalIPs,
    ...(type === "LoadBalancer" ? { allocateLoadBalancerNodePorts: false } : {}),
    ...random.maybe(0.4, "internalTrafficPolicy", () => random.pick(["Cluster", "Local"])),
    ...(isExternal ? random.maybe(0.6, "externalTrafficPolicy", () => random.pick(["Cluster", "Local", "Local"])) : {}),
    ...(random.chance(0.2) ? affinity(random) : {}),
    ...random.maybe(0.1, "trafficDistribution", () => "PreferSameZone"),
    ...(type === "LoadBalancer" ? random.maybe(0.35, "loadBalancerSourceRanges", () => sourceRanges(random)) : {}),
  };
  const status = { loadBalancer: { ingress: type === "LoadBalancer" ? ingress(random, slot, externalIPs) : [] } };
  return service(metadata, spec, status);
}

function service(metadata: ApiObject["metadata"], spec: object, status?: object): ApiObject {
  return { apiVersion: "v1", kind: "Service", metadata, spec, ...(status ? { status } : {}) } as ApiObject;
}

function affinity(random: Random): object {
  const timeoutSeconds = random.pick([1, 60, 10_800, 86_400]);
  return { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds } } };
}

function families(random: Random, slot: number): object {
  const addresses = random.pick([["4"], ["4"], ["6"], ["4", "6"], ["4", "6"], ["6", "4"]]);
  const clusterIPs = addresses.map((family) => (family === "4" ? v4Of(slot) : v6Of(slot)));
  return {
    clusterIP: clusterIPs[0],
    clusterIPs,
    ipFamilies: addresses.map((family) => `IPv${family}`),
    ipFamilyPolicy: addresses.length > 1 ? "RequireDualStack" : "SingleStack",
  };
}

const FORMS: readonly (readonly [protocol: string, port: number])[] = [
  ["TCP", 80],
  ["TCP", 443],
  ["UDP", 53],
  ["TCP", 53],
  ["UDP", 80],
  ["SCTP", 80],
];

function servicePorts(random: Random): Port[] {
  const count = random.pick([1, 1, 2, 2, 3]);
  const forms = random.some(random.chance(0.9) ? FORMS.slice(0, 5) : FORMS, count);
  const unnamed = count === 1 && random.chance(0.4);
  return forms.map(([protocol, port], index) => ({ name: unnamed ? "" : `p${index}`, protocol, port }));
}

function withNodePorts(random: Random, ports: readonly Port[], slot: number, type: string): object[] {
  return ports.map((port, index) => {
    const nodePort = 30_000 + 4 * slot + index;
    return type === "NodePort" || random.chance(0.5) ? { ...port, nodePort } : port;
  });
}

function externalAddresses(random: Random, slot: number, slots: number): string[] {
  const other = random.below(slots);
  const own = [`198.51.100.${slot}`, `2001:db8:1::${hex(slot)}`, `198.51.101.${slot}`];
  const theirs = [...SHARED_ADDRESSES, ...NODE_ADDRESSES, v4Of(other), v6Of(other)];
  return random.some(random.chance(0.6) ? own : [...own, ...theirs], 1 + random.below(4));
}

function ingress(random: Random, slot: number, externalIPs: readonly string[]): object[] {
  const own = [`198.51.102.${slot}`, `2001:db8:2::${hex(slot)}`, `198.51.103.${slot}`];
  const odd = random.chance(0.05) ? ODD_INGRESS : [];
  const theirs = random.chance(0.1) ? SHARED_ADDRESSES : [];
  const addresses = random.some([...own, ...externalIPs, ...theirs, ...odd], random.below(4));
  const entries = addresses.map((ip) => ({ ip, ...random.maybe(0.4, "ipMode", () => random.pick(["VIP", "Proxy"])) }));
  return random.chance(0.1) ? [...entries, { hostname: "lb.example" }] : entries;
}

function sourceRanges(random: Random): string[] {
  return random.some(
    random.chance(0.9) ? RANGES.filter((range) => !range.endsWith("/0")) : RANGES,
    1 + random.below(4),
  );
}
