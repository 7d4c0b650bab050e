// SPDX-License-Identifier: Apache-2.0
// The Node and the ServiceCIDRs of an API server: asked for as kube-proxy asks, told as they change, and no burden to the
// rest if a server does not know them or does not let us see them.

import { expect, test } from "vitest";
import type { Node } from "../../../src/model/types.ts";
import type { KubernetesSourceOptions } from "../../../src/source/kubernetes.ts";
import { type ApiObject, sendStatus } from "../../support/api-server.ts";
import { RecordingSink } from "./recording-sink.ts";
import { reflectorWorld } from "./reflector-world.ts";

class NodeSink extends RecordingSink {
  readonly nodes: (Node | null)[] = [];
  readonly cidrs: (readonly string[])[] = [];

  node(node: Node | null): void {
    this.nodes.push(node);
  }

  serviceCidrs(cidrs: readonly string[]): void {
    this.cidrs.push(cidrs);
  }
}

const world = reflectorWorld();

async function start(options: Partial<KubernetesSourceOptions> = {}): Promise<NodeSink> {
  const sink = new NodeSink();
  world.sink = sink;
  await world.start([], { nodeName: "node-a", ...options });
  return sink;
}

/** What is in no namespace. */
const clusterObject = (name: string, rest: object): ApiObject => ({ metadata: { name }, ...rest }) as ApiObject;
const node = (name: string, address: string) =>
  clusterObject(name, { status: { addresses: [{ type: "InternalIP", address }] } });
const serviceCidr = (name: string, ...cidrs: string[]) => clusterObject(name, { spec: { cidrs } });

test("are asked for as kube-proxy does", async () => {
  const sink = await start();
  await sink.until(() => world.server.openWatches === 4);
  const selectors = (resource: string) => {
    const query = world.server.requests.find((seen) => seen.resource === resource)?.query;
    return [query?.get("labelSelector"), query?.get("fieldSelector"), query?.get("sendInitialEvents")];
  };
  expect(selectors("nodes")).toEqual([null, "metadata.name=node-a", "true"]);
  expect(selectors("servicecidrs")).toEqual([null, null, "true"]);
});

test("a name with what a field selector means otherwise is escaped", async () => {
  await start({ nodeName: "a=b,c\\d" });
  await world.sink.until(() => world.server.requests.some(({ resource }) => resource === "nodes"));
  const query = world.server.requests.find(({ resource }) => resource === "nodes")?.query;
  expect(query?.get("fieldSelector")).toBe("metadata.name=a\\=b\\,c\\\\d");
});

test("our Node is told as it comes, changes and goes; others are not, whatever the server sends", async () => {
  world.server.put("nodes", node("node-b", "192.0.2.2"));
  const sink = await start();
  world.server.put("nodes", node("node-a", "192.0.2.1"));
  await sink.until(() => sink.nodes.length === 1);
  world.server.put("nodes", node("node-b", "192.0.2.9"));
  world.server.put("nodes", node("node-a", "192.0.2.3"));
  await sink.until(() => sink.nodes.length === 2);
  world.server.remove("nodes", "/node-a");
  await sink.until(() => sink.nodes.length === 3);
  expect(sink.nodes.map((object) => object?.internalIps[0])).toEqual(["192.0.2.1", "192.0.2.3", undefined]);
});

test("ServiceCIDRs are told together, once all are known, and at each change", async () => {
  world.server.put("servicecidrs", serviceCidr("kubernetes", "10.96.0.0/16", "fd00:96::/112"));
  world.server.put("servicecidrs", serviceCidr("more", "10.98.0.0/16"));
  const sink = await start();
  await sink.until(() => sink.cidrs.length === 1);
  world.server.put("servicecidrs", serviceCidr("more", "10.97.0.0/16", "10.96.0.0/16"));
  await sink.until(() => sink.cidrs.length === 2);
  world.server.remove("servicecidrs", "/kubernetes");
  await sink.until(() => sink.cidrs.length === 3);
  expect(sink.cidrs).toEqual([
    ["10.96.0.0/16", "10.98.0.0/16", "fd00:96::/112"],
    ["10.96.0.0/16", "10.97.0.0/16", "fd00:96::/112"],
    ["10.96.0.0/16", "10.97.0.0/16"],
  ]);
});

test.each([
  ["does not know", 404],
  ["does not show", 403],
])("a server that %s them is a source of the rest all the same", async (_, status) => {
  world.server.intercept = (seen, response) => {
    const refused = seen.resource === "nodes" || seen.resource === "servicecidrs";
    if (refused) sendStatus(response, status, "no");
    return refused;
  };
  const sink = await start();
  const refused = () => world.source?.status().refused ?? [];
  await sink.until(() => sink.completed && world.server.openWatches === 2 && refused().length === 2);
  expect(world.source?.status()).toMatchObject({ state: "synced", reason: null });
  const servicecidrs = "/apis/networking.k8s.io/v1/servicecidrs";
  expect(refused()).toEqual([`/api/v1/nodes: ${status} no`, `${servicecidrs}: ${status} no`]);
  world.server.intercept = null;
  world.server.put("nodes", node("node-a", "192.0.2.1"));
  await sink.until(() => sink.nodes.length === 1 && refused().length === 0);
  await world.expectLive();
});

test("a Node that is wrong is named by its name", async () => {
  world.server.put("nodes", node("node-a", "here"));
  const sink = await start();
  await sink.until(() => sink.nodes.length === 1);
  expect(sink.problemsOf("Node node-a").map(({ field }) => field)).toEqual(["status.addresses[0].address"]);
});

test("a service-proxy-name is asked for, and looked at again", async () => {
  const labels = (value: string) => ({ "service.kubernetes.io/service-proxy-name": value });
  const service = (name: string, clusterIP: string, value: string): ApiObject => ({
    metadata: { name, namespace: "shop", labels: labels(value) },
    spec: { clusterIP, ports: [{ port: 80 }] },
  });
  world.server.put("services", service("ours", "10.96.0.7", "mesh"));
  world.server.put("services", service("theirs", "10.96.0.8", "other"));
  const sink = await start({ serviceProxyName: "mesh" });
  await sink.until(() => sink.completed);
  expect([...sink.services.keys()]).toEqual(["shop/ours"]);
  const query = world.server.requests.find(({ resource }) => resource === "services")?.query;
  expect(query?.get("labelSelector")).toBe("service.kubernetes.io/service-proxy-name=mesh");
});

test("a sink that does not want them costs the server nothing", async () => {
  await world.startSynced();
  expect(world.server.requests.map(({ resource }) => resource).sort()).toEqual(["endpointslices", "services"]);
});
