// SPDX-License-Identifier: Apache-2.0
// What should a node serve? A second, naive answer, made from whole manifests and the rules as people tell them, sharing
// no code with the compiler: objects and lists, everything anew each time. It answers in the lines of scenario.ts.

import { addressInRange, coversRange, isEverything } from "./plain-ranges.ts";

export interface PlainService {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly created: string;
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  readonly ingress: readonly { readonly ip?: string; readonly ipMode?: string }[];
  readonly ports: readonly {
    readonly name: string;
    readonly protocol: string;
    readonly port: number;
    readonly nodePort?: number;
  }[];
  readonly internalTrafficPolicy?: string;
  readonly externalTrafficPolicy?: string;
  readonly affinitySec: number;
  /** spec.loadBalancerSourceRanges. */
  readonly sourceRanges: readonly string[];
}

export interface PlainEndpoint {
  readonly addresses: readonly string[];
  readonly nodeName?: string;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly forZones: readonly string[];
  readonly forNodes: readonly string[];
}

export interface PlainSlice {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addressType: string;
  readonly ports: readonly { readonly name?: string; readonly protocol: string; readonly port?: number }[];
  readonly endpoints: readonly PlainEndpoint[];
}

export interface PlainWorld {
  readonly node: string;
  readonly zone: string;
  /** Of the Node object; one of each family at most. */
  readonly primaryAddresses: readonly string[];
  readonly podRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  readonly deviceAddresses: readonly string[];
  readonly services: readonly PlainService[];
  readonly slices: readonly PlainSlice[];
}

type Port = PlainService["ports"][number];

interface Wish {
  readonly service: PlainService;
  readonly port: Port;
  readonly family: 4 | 6;
  readonly role: "ClusterIP" | "LoadBalancer" | "ExternalIP" | "NodePort";
  /** "" for a NodePort. */
  readonly address: string;
  readonly place: string;
}

/** The sorted lines of everything this node should serve. */
export function referenceLines(world: PlainWorld): string[] {
  const ours = world.services.filter(isOurs);
  const wishes = ours.toSorted(byAge).flatMap(wishesOf);
  const granted = [...Map.groupBy(wishes, ({ place, port }) => `${place} ${port.protocol}`).values()].map(
    (rivals) => rivals[0] as Wish,
  );
  const served = granted.filter(
    ({ role, address }) => role !== "ClusterIP" || !world.deviceAddresses.includes(address),
  );
  const units = Map.groupBy(served, ({ service, port, family }) => `${service.name} ${port.name} ${family}`);
  return [...units.values()].flatMap((unit) => unitLines(unit, world)).sort();
}

/** It is for a proxy, and for one without a name. */
export function isOurs({ labels, type, clusterIps }: PlainService): boolean {
  return !("service.kubernetes.io/service-proxy-name" in labels) && type !== "ExternalName" && clusterIps[0] !== "None";
}

function byAge(a: PlainService, b: PlainService): number {
  if (a.created !== b.created) return a.created < b.created ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);
const at = (address: string, port: number): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

/** The node's inside, groups and nobody. */
const isSpecial = (address: string): boolean => /^(0|127|169\.254|22[4-9]|23\d)\.|^(::1?$|fe80:|ff)/.test(address);
/** Nobody's yet. */
const isReserved = (address: string): boolean => /^2[45]\d\./.test(address);

function wishesOf(service: PlainService): Wish[] {
  const families = new Set(service.clusterIps.map(familyOf));
  const roles = new Map<string, Wish["role"]>();
  const add = (role: Wish["role"], addresses: readonly string[]): void => {
    for (const address of addresses) {
      if (!isSpecial(address) && families.has(familyOf(address)) && !roles.has(address)) roles.set(address, role);
    }
  };
  add("ClusterIP", service.clusterIps);
  const vips = service.ingress.filter(({ ip, ipMode }) => ip !== undefined && (ipMode ?? "VIP") === "VIP");
  add(
    "LoadBalancer",
    vips.map(({ ip }) => ip as string),
  );
  add("ExternalIP", service.externalIps);
  const served = service.ports.filter(({ protocol }) => protocol !== "SCTP");
  return served.flatMap((port) => {
    const addressed = [...roles].map(
      ([address, role]): Wish => ({
        service,
        port,
        family: familyOf(address),
        role,
        address,
        place: at(address, port.port),
      }),
    );
    const { nodePort } = port;
    if (nodePort === undefined) return addressed;
    const wildcard = (family: 4 | 6): Wish => {
      return {
        service,
        port,
        family,
        role: "NodePort",
        address: "",
        place: at(family === 4 ? "0.0.0.0" : "::", nodePort),
      };
    };
    return [...addressed, ...[...families].map(wildcard)];
  });
}

interface Candidate {
  readonly place: string;
  readonly order: string;
  readonly isReady: boolean;
  readonly isServing: boolean;
  readonly isTerminating: boolean;
  readonly isLocal: boolean;
  readonly endpoint: PlainEndpoint;
}

function candidatesOf(service: PlainService, port: Port, family: 4 | 6, world: PlainWorld): Candidate[] {
  const clusterIps = world.services.filter(isOurs).flatMap((other) => other.clusterIps);
  const all = world.slices
    .filter(({ labels }) => labels["kubernetes.io/service-name"] === service.name)
    .filter(({ labels }) => !("service.kubernetes.io/headless" in labels))
    .filter(({ addressType }) => addressType === `IPv${family}`)
    .flatMap((slice) =>
      slice.ports
        .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
        .filter((slicePort) => (slicePort.port ?? 0) !== 0)
        .flatMap((slicePort) => slice.endpoints.map((endpoint) => ({ endpoint, number: slicePort.port as number }))),
    )
    .flatMap(({ endpoint, number }) => {
      const [address] = endpoint.addresses;
      if (address === undefined || isSpecial(address) || isReserved(address) || clusterIps.includes(address)) return [];
      if (world.serviceRanges.some((range) => addressInRange(address, range))) return [];
      return [candidateOf(endpoint, address, number, world)];
    });
  const merged = [...Map.groupBy(all, ({ place }) => place).values()];
  return merged.map((same) => same.toSorted((a, b) => preference(b, world) - preference(a, world))[0] as Candidate);
}

function candidateOf(endpoint: PlainEndpoint, address: string, port: number, world: PlainWorld): Candidate {
  const octets = address.split(/[.:]/).map((part) => part.padStart(4, "0"));
  return {
    endpoint,
    place: at(address, port),
    order: `${octets.join(".")} ${String(port).padStart(5, "0")}`,
    isReady: endpoint.ready ?? true,
    isServing: endpoint.serving ?? true,
    isTerminating: endpoint.terminating ?? false,
    isLocal: endpoint.nodeName === world.node,
  };
}

/** Of two entries for one place the one with more to say for it counts. */
function preference({ endpoint, ...one }: Candidate, { node, zone }: PlainWorld): number {
  const reasons = [
    !one.isTerminating,
    one.isReady,
    one.isServing,
    one.isLocal,
    endpoint.forNodes.includes(node),
    endpoint.forNodes.length > 0,
    endpoint.forZones.includes(zone),
    endpoint.forZones.length > 0,
  ];
  return reasons.reduce((sum, reason) => sum * 2 + (reason ? 1 : 0), 0);
}

/** Those that are ready, else those that serve while they terminate. */
function usable(candidates: readonly Candidate[]): Candidate[] {
  const ready = candidates.filter(({ isReady }) => isReady);
  return ready.length > 0 ? ready : candidates.filter((one) => one.isServing && one.isTerminating);
}

/** The cluster set: the usable ones, and of ready ones those meant for this node, else for its zone, where all have hints. */
function clusterSet(candidates: readonly Candidate[], { node, zone }: PlainWorld): Candidate[] {
  const all = usable(candidates);
  if (!candidates.some(({ isReady }) => isReady)) return all;
  const forNode = all.filter(({ endpoint }) => endpoint.forNodes.includes(node));
  if (all.every(({ endpoint }) => endpoint.forNodes.length > 0) && forNode.length > 0) return forNode;
  const forZone = all.filter(({ endpoint }) => zone !== "" && endpoint.forZones.includes(zone));
  if (all.every(({ endpoint }) => endpoint.forZones.length > 0) && forZone.length > 0) return forZone;
  return all;
}

function isLocalPolicy({ role, service }: Wish): boolean {
  if (role === "ClusterIP") return service.internalTrafficPolicy === "Local";
  const reachable = ["NodePort", "LoadBalancer"].includes(service.type) || service.externalIps.length > 0;
  return reachable && service.externalTrafficPolicy === "Local";
}

function unitLines(frontends: readonly Wish[], world: PlainWorld): string[] {
  const [{ service, port, family }] = frontends as [Wish];
  const candidates = candidatesOf(service, port, family, world).toSorted((a, b) => (a.order < b.order ? -1 : 1));
  const cluster = clusterSet(candidates, world);
  const needsLocal = frontends.some(isLocalPolicy);
  const local = needsLocal ? usable(candidates.filter(({ isLocal }) => isLocal)) : [];
  const draining = candidates.filter((one) => one.isServing && !cluster.includes(one) && !local.includes(one));
  const words = (set: readonly Candidate[], empty: string): string =>
    set.length === 0 ? empty : set.map(({ place, isServing }) => place + (isServing ? "" : "!")).join(",");
  return frontends.map((frontend) => {
    const name = port.name === "" ? service.name : `${service.name}:${port.name}`;
    const line = [`default/${name}`, port.protocol, frontend.place, frontend.role];
    line.push(`cluster=${words(cluster, "reject")}`);
    if (isLocalPolicy(frontend)) line.push(`local=${words(local, cluster.length === 0 ? "reject" : "drop")}`);
    if (draining.length > 0) line.push(`draining=${draining.map(({ place }) => place).join(",")}`);
    if (service.affinitySec > 0) line.push(`affinity=${service.affinitySec}`);
    const ranges = frontend.role === "LoadBalancer" ? rangesWord(service, family, world) : "";
    if (ranges !== "") line.push(`ranges=${ranges}`);
    return line.join(" ");
  });
}

/** Who may call a load balancer's address; "" for anyone. */
function rangesWord({ sourceRanges, ingress }: PlainService, family: 4 | 6, world: PlainWorld): string {
  const ours = <T extends string>(list: readonly T[]): T[] => list.filter((one) => familyOf(one) === family);
  const ranges = ours(sourceRanges.map((range) => range.trim()));
  if (ranges.length === 0 || ranges.some(isEverything)) return "";
  const host = ours(world.primaryAddresses).some((address) => ranges.some((range) => addressInRange(address, range)));
  const pods = ours(world.podRanges);
  const vips = ingress.filter(({ ip, ipMode }) => ip !== undefined && (ipMode ?? "VIP") === "VIP");
  const own = ours(vips.map(({ ip }) => ip as string)).map((ip) => `${ip}/${family === 4 ? 32 : 128}`);
  const callers = host ? ["host"] : [];
  if (pods.length > 0 && pods.every((range) => coversRange(ranges, range))) callers.push("pods");
  return [...callers, ...[...new Set([...ranges, ...(host ? own : [])])].sort()].join(",");
}

/** As the API has it. */
export function serviceManifest(service: PlainService): object {
  const { name, labels, created, clusterIps, externalIps, ingress, affinitySec, sourceRanges, ...spec } = service;
  const affinity = { clientIP: { timeoutSeconds: affinitySec } };
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default", labels, creationTimestamp: created },
    spec: {
      ...spec,
      clusterIP: clusterIps[0],
      clusterIPs: clusterIps,
      externalIPs: externalIps,
      loadBalancerSourceRanges: sourceRanges,
      ...(affinitySec > 0 ? { sessionAffinity: "ClientIP", sessionAffinityConfig: affinity } : {}),
    },
    status: { loadBalancer: { ingress } },
  };
}

/** As the API has it. */
export function sliceManifest({ name, labels, endpoints, ...slice }: PlainSlice): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels },
    ...slice,
    endpoints: endpoints.map(({ addresses, nodeName, forZones, forNodes, ...conditions }) => ({
      addresses,
      nodeName,
      conditions,
      hints: { forZones: forZones.map((zone) => ({ name: zone })), forNodes: forNodes.map((node) => ({ name: node })) },
    })),
  };
}
