// SPDX-License-Identifier: Apache-2.0
// Small Services, EndpointSlices and kubeconfigs for the tests of the sources.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ApiObject } from "../../support/api-server.ts";

export function service(name: string, clusterIp = "10.96.0.1", namespace = "shop"): ApiObject {
  return { metadata: { name, namespace }, spec: { clusterIP: clusterIp, ports: [{ port: 80 }] } };
}

export function slice(name: string, addresses: readonly string[], serviceName = "web", namespace = "shop"): ApiObject {
  return {
    metadata: { name, namespace, labels: { "kubernetes.io/service-name": serviceName } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080 }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node-1" })),
  };
}

/** Writes a kubeconfig and answers its path. `user` and `cluster` are added to the fields of each. */
export function kubeconfig(
  directory: string,
  server: string,
  extra: { user?: Record<string, unknown>; cluster?: Record<string, unknown> } = {},
): string {
  const path = join(directory, "kubeconfig");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { server, ...extra.cluster } }],
    users: [{ name: "u", user: extra.user ?? { token: "secret" } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}
