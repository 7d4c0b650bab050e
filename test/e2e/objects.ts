// SPDX-License-Identifier: Apache-2.0
// The Kubernetes objects the e2e tests create, as kubectl takes them.

import { podPort } from "./pod.ts";

const ports = [
  { name: "tcp", protocol: "TCP", port: podPort },
  { name: "udp", protocol: "UDP", port: podPort },
];

/** The ports of service(): TCP 80 and UDP 53 go to the pods' one port. */
export const servicePort = { TCP: 80, UDP: 53 } as const;

/** A dual-stack Service without selector (slices are made by the test); `spec` adds to it or replaces parts. */
export function service(name: string, spec: object = {}, namespace = "default"): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: {
      ipFamilyPolicy: "RequireDualStack",
      ipFamilies: ["IPv4", "IPv6"],
      ports: [
        { name: "tcp", protocol: "TCP", port: servicePort.TCP, targetPort: podPort },
        { name: "udp", protocol: "UDP", port: servicePort.UDP, targetPort: podPort },
      ],
      ...spec,
    },
  };
}

/** One EndpointSlice of a Service; its family is that of the first address. All endpoints are ready, on node1. */
export function slice(name: string, of: string, addresses: readonly string[], namespace = "default"): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace, labels: { "kubernetes.io/service-name": of } },
    addressType: addresses[0]?.includes(":") ? "IPv6" : "IPv4",
    ports,
    endpoints: addresses.map((address) => ({
      addresses: [address],
      nodeName: "node1",
      conditions: { ready: true, serving: true, terminating: false },
    })),
  };
}

/** Slices of both families for pods at these hosts. */
export function slices(of: string, hosts: readonly { ipv4: string; ipv6: string }[], namespace = "default"): object[] {
  return [
    slice(
      `${of}-v4`,
      of,
      hosts.map((host) => host.ipv4),
      namespace,
    ),
    slice(
      `${of}-v6`,
      of,
      hosts.map((host) => host.ipv6),
      namespace,
    ),
  ];
}

/** A Pod bound to node1, labelled `app`; without a kubelet its status is patched by the test (podStatus). */
export function podObject(name: string, app: string): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app } },
    spec: {
      nodeName: "node1",
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "server", image: "server", ports: [{ containerPort: podPort }] }],
    },
  };
}

/** What a kubelet would write of a running pod. */
export function podStatus(host: { ipv4: string; ipv6: string }, ready = true): object {
  const status = ready ? "True" : "False";
  return {
    phase: "Running",
    podIP: host.ipv4,
    podIPs: [{ ip: host.ipv4 }, { ip: host.ipv6 }],
    conditions: [
      { type: "Ready", status },
      { type: "ContainersReady", status },
    ],
  };
}
