// SPDX-License-Identifier: Apache-2.0
// When has a proxy taken in what it was told? A dual-stack Service of the tests' own that is changed last, with its
// slices, in every step: once its new port is answered by its new endpoint in both families, so is everything before.

import { place } from "./scenario.ts";
import type { World } from "./world.ts";

const NAMESPACE = "step-marker";
const CLUSTER_IPS = ["10.96.255.254", "fd00:96::fffe"] as const;
const ENDPOINTS = ["10.244.255.1", "fd00:10:244:ffff::1"] as const;
const FIRST_PORT = 1_000;
/** kube-proxy may have to try twice, half a minute apart. */
const WITHIN_MS = 90_000;

/** Port of step `n`, of Service and endpoints. */
const portOf = (n: number): number => FIRST_PORT + n;

/** The objects of step `n`; the Service first, with these labels. */
export function markerObjects(n: number, labels: Readonly<Record<string, string>> = {}): object[] {
  const port = { name: "marker", protocol: "TCP", port: portOf(n) };
  const metadata = { name: "marker", namespace: NAMESPACE };
  const families = { ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" };
  const spec = { clusterIP: CLUSTER_IPS[0], clusterIPs: CLUSTER_IPS, ...families, ports: [port] };
  return [
    { apiVersion: "v1", kind: "Service", metadata: { ...metadata, labels }, spec },
    ...ENDPOINTS.map((address, index) => ({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...metadata, name: `marker-${index}`, labels: { "kubernetes.io/service-name": "marker" } },
      addressType: ["IPv4", "IPv6"][index],
      ports: [port],
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
    })),
  ];
}

export const markerNamespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } };

/** Waits until the world's proxy has programmed step `n`; its endpoints are served from now on. */
export async function markerArrived(world: World, n: number): Promise<void> {
  const port = portOf(n);
  await world.serve(ENDPOINTS.map((address) => ({ address, port, protocol: "TCP" })));
  await Promise.all(
    CLUSTER_IPS.map((address, index) => {
      const from = place(ENDPOINTS[index] ?? "", port);
      return world.host.arrival({ address, port, from, withinMs: WITHIN_MS });
    }),
  );
}
