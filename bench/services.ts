// SPDX-License-Identifier: Apache-2.0
// The Services of a benchmark, by index: the same names, addresses and endpoints for portolan's manifests, for the rules
// generated in kube-proxy's shape, and for the API server that the real kube-proxy watches.

import { ECHO_PORT, ENDPOINT_PORT } from "./bed.ts";

export const NAMESPACE = "bench";
const ENDPOINTS_PER_SERVICE = 10;
const AFFINITY_SEC = 10_800;

export type ServiceKind = "tcp" | "udp" | "affinity" | "echo";

export interface BenchService {
  readonly name: string;
  readonly kind: ServiceKind;
  readonly clusterIp: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
  readonly targetPort: number;
  /** 0: none. */
  readonly affinitySec: number;
  /** In the order of their text, as kube-proxy has them. */
  readonly endpoints: readonly string[];
}

const dotted = (base: number, n: number): string => {
  const address = base + n;
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
};
const CLUSTER_IPS = 0x0a600000 + 256;
const ENDPOINTS = 0x0a800000 + 256;

const SPECIAL: readonly ServiceKind[] = ["tcp", "affinity", "udp", "echo"];

/** By index alone: a longer list of Services begins with the shorter one. */
const kindOf = (index: number): ServiceKind => SPECIAL[index] ?? "tcp";

/** Services 0 … count − 1: plain TCP ones, but for one each with affinity, UDP, and echoing endpoints near the start. */
export function benchServices(count: number, endpointsEach = ENDPOINTS_PER_SERVICE): BenchService[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = kindOf(index);
    return {
      name: `svc-${String(index).padStart(5, "0")}`,
      kind,
      clusterIp: dotted(CLUSTER_IPS, index),
      port: kind === "udp" ? 53 : 80,
      protocol: kind === "udp" ? "UDP" : "TCP",
      targetPort: kind === "echo" ? ECHO_PORT : ENDPOINT_PORT,
      affinitySec: kind === "affinity" ? AFFINITY_SEC : 0,
      endpoints: Array.from({ length: endpointsEach }, (_, n) => dotted(ENDPOINTS, index * endpointsEach + n)).sort(),
    };
  });
}

/** The Service as an API object. */
export function serviceObject(service: BenchService): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: service.name, namespace: NAMESPACE },
    spec: {
      type: "ClusterIP",
      clusterIP: service.clusterIp,
      clusterIPs: [service.clusterIp],
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      ports: [{ name: "p", protocol: service.protocol, port: service.port, targetPort: service.targetPort }],
      ...(service.affinitySec > 0
        ? { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: service.affinitySec } } }
        : { sessionAffinity: "None" }),
    },
  };
}

/** Its one EndpointSlice, as the endpoint slice controller writes them. */
export function sliceObject(service: BenchService): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${service.name}-x`,
      namespace: NAMESPACE,
      labels: {
        "kubernetes.io/service-name": service.name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
      },
    },
    addressType: "IPv4",
    endpoints: service.endpoints.map((address, n) => ({
      addresses: [address],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: `node-${n}`,
    })),
    ports: [{ name: "p", protocol: service.protocol, port: service.targetPort }],
  };
}

/** Manifests of all of them: file name → content, some hundred Services a file. */
export function manifests(services: readonly BenchService[], perFile = 500): Map<string, string> {
  const files = new Map<string, string>();
  for (let start = 0; start < services.length; start += perFile) {
    const part = services.slice(start, start + perFile);
    const items = part.flatMap((service) => [serviceObject(service), sliceObject(service)]);
    files.set(`services-${start}.json`, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  }
  return files;
}
