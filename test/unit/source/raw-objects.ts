// SPDX-License-Identifier: Apache-2.0
// A Service and an EndpointSlice as JSON has them, for the tests of decode.

/** shop/web, one port at 10.96.0.1. */
export function service(
  spec: Record<string, unknown> = {},
  rest: Record<string, unknown> = {},
  labels?: Record<string, string>,
) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "web",
      namespace: "shop",
      uid: "u-1",
      creationTimestamp: "2026-01-02T03:04:05Z",
      ...(labels && { labels }),
    },
    spec: { type: "ClusterIP", clusterIP: "10.96.0.1", ports: [{ port: 80, protocol: "TCP" }], ...spec },
    ...rest,
  };
}

/** shop/web-1 with one endpoint. */
export function slice(
  body: Record<string, unknown> = {},
  labels: Record<string, unknown> = { "kubernetes.io/service-name": "web" },
) {
  return {
    metadata: { name: "web-1", namespace: "shop", labels },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080 }],
    endpoints: [{ addresses: ["10.0.0.1"], nodeName: "node-1" }],
    ...body,
  };
}

/** "field: reason" of each. */
export const problems = (decoded: { problems: readonly { field: string; reason: string }[] }) =>
  decoded.problems.map(({ field, reason }) => `${field}: ${reason}`);
