// SPDX-License-Identifier: Apache-2.0
// A scenario's manifest as a real API server takes it. Scenarios say only what a proxy reads; what an API server asks
// for beside that is filled in from the rest, so that frontends and endpoints stay those the scenario speaks of.

import { isIPv6 } from "node:net";
import type { Manifest } from "../support/scenario.ts";
import type { ApiObject } from "./api-client.ts";

interface PortForm {
  readonly nodePort?: number;
}

interface ServiceSpec {
  readonly type?: string;
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly ports?: readonly PortForm[];
  readonly [field: string]: unknown;
}

interface ServiceStatus {
  readonly loadBalancer?: { readonly ingress?: readonly object[] };
}

export function clusterObject(manifest: Manifest): ApiObject {
  // The API server makes uids and times itself.
  const { uid: _uid, creationTimestamp: _created, resourceVersion: _version, ...metadata } = manifest.metadata;
  const object = { ...manifest, metadata } as unknown as ApiObject;
  return manifest.kind === "Service" ? completeService(object) : object;
}

function completeService(service: ApiObject): ApiObject {
  const { spec = {}, status } = service as { readonly spec?: ServiceSpec; readonly status?: ServiceStatus };
  const type = spec.type ?? impliedType(spec, status);
  if (type === "ExternalName" || spec.clusterIP === "None") return service;
  const loadBalancer = type === "LoadBalancer" ? { allocateLoadBalancerNodePorts: false } : {};
  return { ...service, spec: { ...loadBalancer, ...families(spec), ...spec, type } } as ApiObject;
}

function impliedType({ ports = [] }: ServiceSpec, status?: ServiceStatus): string {
  if ((status?.loadBalancer?.ingress ?? []).length > 0) return "LoadBalancer";
  return ports.some(({ nodePort = 0 }) => nodePort > 0) ? "NodePort" : "ClusterIP";
}

function families({ clusterIP, clusterIPs = clusterIP === undefined ? [] : [clusterIP] }: ServiceSpec): object {
  if (clusterIPs.length === 0) return {};
  const ipFamilies = clusterIPs.map((address) => (isIPv6(address) ? "IPv6" : "IPv4"));
  return {
    clusterIP: clusterIPs[0],
    clusterIPs,
    ipFamilies,
    ipFamilyPolicy: ipFamilies.length > 1 ? "RequireDualStack" : "SingleStack",
  };
}
