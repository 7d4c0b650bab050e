// SPDX-License-Identifier: Apache-2.0
// What runs in the test cluster: three backends, one on each node, behind a Service with a NodePort, dual stack, and
// a client pod on each node.

import { eventually } from "../support/daemon.ts";
import { type Cluster, podImage } from "./cluster.ts";

/** The Service as callers name it. */
export interface Web {
  readonly dnsName: "web.default.svc.cluster.local";
  readonly nodePort: number;
  /** The ClusterIPs. */
  readonly ipv4: string;
  readonly ipv6: string;
}

const backends = 3;
const nodePort = 30080;
const ports = [
  { name: "http", port: 80, targetPort: 8080, nodePort },
  { name: "datagrams", port: 81, targetPort: 8081, nodePort: nodePort + 1, protocol: "UDP" },
];

const container = (command: string): object => ({
  name: "pod",
  image: podImage,
  args: [command],
  imagePullPolicy: "Never",
});

const readiness = { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 };

const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web" },
  spec: {
    replicas: backends,
    selector: { matchLabels: { app: "web" } },
    template: {
      metadata: { labels: { app: "web" } },
      spec: {
        terminationGracePeriodSeconds: 1,
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: "kubernetes.io/hostname",
            whenUnsatisfiable: "DoNotSchedule",
            labelSelector: { matchLabels: { app: "web" } },
          },
        ],
        containers: [
          // On a busy machine a backend stays one.
          { ...container("serve"), readinessProbe: { ...readiness, timeoutSeconds: 30, failureThreshold: 10 } },
        ],
      },
    },
  },
};

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web" },
  spec: { type: "NodePort", ipFamilyPolicy: "RequireDualStack", selector: { app: "web" }, ports },
};

/** The client pod of a node. */
export const clientOf = (nodeName: string): string => `client-${nodeName}`;

const client = (nodeName: string): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: clientOf(nodeName), labels: { app: "client" } },
  spec: { nodeName, terminationGracePeriodSeconds: 0, containers: [container("idle")] },
});

/** Returns when all its pods are Ready; that takes no Service. */
export async function deploy(cluster: Cluster): Promise<Web> {
  await cluster.apply([deployment, service, ...cluster.nodes.map(({ name }) => client(name))]);
  await cluster.kubectl(["wait", "--for=condition=Ready", "pod", "--selector=app=client", "--timeout=600s"]);
  await cluster.kubectl(["rollout", "status", "deployment/web", "--timeout=600s"]);
  const addresses = await cluster.kubectl(["get", "service", "web", "-o=jsonpath={.spec.clusterIPs[*]}"]);
  const [ipv4 = "", ipv6 = ""] = addresses.split(" ");
  return { dnsName: "web.default.svc.cluster.local", nodePort, ipv4, ipv6 };
}

/** The pods behind the Service that are there to stay: name to IPv4 address. */
export async function backendsOf(cluster: Cluster): Promise<Map<string, string>> {
  interface Pods {
    readonly items: readonly {
      readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
      readonly status: { readonly podIP: string };
    }[];
  }
  const pods = JSON.parse(await cluster.kubectl(["get", "pods", "--selector=app=web", "-o=json"])) as Pods;
  const staying = pods.items.filter(({ metadata }) => !metadata.deletionTimestamp);
  return new Map(staying.map(({ metadata, status }) => [metadata.name, status.podIP]));
}

/** Deletes every pod behind the Service and returns when others have taken their places, in its EndpointSlices too. */
export async function replaceBackends(cluster: Cluster): Promise<void> {
  await cluster.kubectl(["delete", "pods", "--selector=app=web"]);
  await cluster.kubectl(["rollout", "status", "deployment/web", "--timeout=600s"]);
  const ready = "-o=jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
  const slices = ["get", "endpointslices", "--selector=kubernetes.io/service-name=web", ready];
  await eventually("the EndpointSlices name every new pod", async () => {
    const addresses = (await cluster.kubectl(slices)).split(" ");
    const pods = [...(await backendsOf(cluster)).values()];
    return pods.every((address) => addresses.includes(address)) ? true : undefined;
  });
}
