// SPDX-License-Identifier: Apache-2.0
// What an API server says there is, as the reference model takes it.

import type { PlainEndpoint, PlainService, PlainSlice } from "../support/reference-model.ts";

/** The fields that a proxy may read, as the API has them. */
export interface ServiceForm {
  readonly metadata: MetadataForm;
  readonly spec: {
    readonly type: string;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly externalIPs?: readonly string[];
    readonly ports?: readonly (Omit<PlainService["ports"][number], "name"> & { readonly name?: string })[];
    readonly internalTrafficPolicy?: string;
    readonly externalTrafficPolicy?: string;
    readonly sessionAffinity?: string;
    readonly sessionAffinityConfig?: { readonly clientIP: { readonly timeoutSeconds: number } };
    readonly loadBalancerSourceRanges?: readonly string[];
  };
  readonly status: { readonly loadBalancer: { readonly ingress?: PlainService["ingress"] } };
}

interface MetadataForm {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp: string;
}

export interface SliceForm {
  readonly metadata: MetadataForm;
  readonly addressType: string;
  readonly ports?: PlainSlice["ports"] | null;
  readonly endpoints?: readonly EndpointForm[] | null;
}

interface EndpointForm {
  readonly addresses: readonly string[];
  readonly nodeName?: string;
  readonly conditions?: Pick<PlainEndpoint, "ready" | "serving" | "terminating">;
  readonly hints?: { readonly forZones?: readonly Named[]; readonly forNodes?: readonly Named[] };
}

interface Named {
  readonly name: string;
}

export function plainService({ metadata, spec, status }: ServiceForm): PlainService {
  const { internalTrafficPolicy: internal, externalTrafficPolicy: external } = spec;
  const isSticky = spec.sessionAffinity === "ClientIP";
  return {
    name: metadata.name,
    labels: metadata.labels ?? {},
    created: metadata.creationTimestamp,
    type: spec.type,
    clusterIps: spec.clusterIPs ?? [],
    externalIps: spec.externalIPs ?? [],
    ingress: status.loadBalancer.ingress ?? [],
    ports: (spec.ports ?? []).map((port) => ({ ...port, name: port.name ?? "" })),
    ...(internal === undefined ? {} : { internalTrafficPolicy: internal }),
    ...(external === undefined ? {} : { externalTrafficPolicy: external }),
    affinitySec: isSticky ? (spec.sessionAffinityConfig?.clientIP.timeoutSeconds ?? 0) : 0,
    sourceRanges: spec.loadBalancerSourceRanges ?? [],
  };
}

export function plainSlice({ metadata, addressType, ports, endpoints }: SliceForm): PlainSlice {
  return {
    name: metadata.name,
    labels: metadata.labels ?? {},
    addressType,
    ports: ports ?? [],
    endpoints: (endpoints ?? []).map(plainEndpoint),
  };
}

function plainEndpoint({ addresses, nodeName, conditions, hints }: EndpointForm): PlainEndpoint {
  const names = (list: readonly Named[] | undefined): string[] => (list ?? []).map(({ name }) => name);
  return {
    addresses,
    ...(nodeName === undefined ? {} : { nodeName }),
    ...conditions,
    forZones: names(hints?.forZones),
    forNodes: names(hints?.forNodes),
  };
}
