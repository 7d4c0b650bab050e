// SPDX-License-Identifier: Apache-2.0
// What the agent takes from the Node object and the ServiceCIDRs of a real API server, under the role that ships: the
// zone, the node's own addresses, where ClusterIPs come from. All of it while it runs.

import { afterAll, beforeAll, expect, test } from "vitest";
import { command, eventually } from "../support/daemon.ts";
import { Bed } from "./bed.ts";
import { service, servicePort, slice } from "./objects.ts";

const NODE_PORT = 30_081;
/** An address of the node beside the one the API server knows. */
const SECOND = "192.0.2.77";

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 2 });
  await command(["ip", "address", "add", `${SECOND}/32`, "dev", "lo"], { netns: bed.node.netns });
  const config = {
    apiVersion: "portolan.io/v1alpha1",
    kind: "PortolanConfiguration",
    nodePortAddresses: ["primary"],
    healthzBindAddress: "none",
  };
  await bed.startAgent({ config }).inSync();
});

afterAll(() => bed?.remove());

/** A slice whose endpoints are each meant for one zone. */
function zoned(name: string, of: string, zones: readonly string[]): object {
  const plain = slice(
    name,
    of,
    bed.hosts.map(({ ipv4 }) => ipv4),
  ) as { endpoints: object[] };
  const endpoints = plain.endpoints.map((endpoint, i) => ({ ...endpoint, hints: { forZones: [{ name: zones[i] }] } }));
  return { ...plain, endpoints };
}

const label = (zone: string) => bed.plane.kubectl(["label", "node", "node1", "--overwrite", zone]);
const ZONE = "topology.kubernetes.io/zone";

test("the zone of the Node decides as its label comes, changes and goes", async () => {
  const clusterIPs = ["10.96.0.81", "fd00:96::81"];
  await bed.plane.apply(
    service("zoned", { clusterIP: clusterIPs[0], clusterIPs }),
    zoned("zoned-v4", "zoned", ["east", "west"]),
  );
  const call = { host: "10.96.0.81", port: servicePort.TCP };
  await bed.reaches(bed.process, call, [bed.pod(1), bed.pod(2)]);
  await label(`${ZONE}=east`);
  await bed.reaches(bed.process, call, [bed.pod(1)]);
  const { ipv4, ipv6 } = bed.node;
  expect((await bed.agent.report())?.nodeFacts).toMatchObject({ zone: "east", primaryAddresses: [ipv4, ipv6] });
  await label(`${ZONE}=west`);
  await bed.reaches(bed.process, call, [bed.pod(2)]);
  await bed.reaches(bed.pod(1), call, [bed.pod(2)]);
  await label(`${ZONE}-`);
  await bed.reaches(bed.process, call, [bed.pod(1), bed.pod(2)]);
});

test("NodePorts answer on the Node's own address, and follow it", async () => {
  const clusterIPs = ["10.96.0.82", "fd00:96::82"];
  const ports = [{ name: "tcp", protocol: "TCP", port: servicePort.TCP, nodePort: NODE_PORT }];
  await bed.plane.apply(
    service("outside", { type: "NodePort", clusterIP: clusterIPs[0], clusterIPs, ports }),
    slice("outside-v4", "outside", [bed.pod(1).host.ipv4]),
  );
  const at = (host: string) => ({ host, port: NODE_PORT });
  await bed.reaches(bed.process, at(bed.node.ipv4), [bed.pod(1)]);
  await bed.fails(bed.process, at(SECOND), "ECONNREFUSED");
  const addresses = [SECOND, bed.node.ipv6].map((address) => ({ type: "InternalIP", address }));
  await bed.plane.patchStatus(["node", "node1"], { addresses });
  await bed.reaches(bed.process, at(SECOND), [bed.pod(1)]);
  await bed.fails(bed.process, at(bed.node.ipv4), "ECONNREFUSED");
});

interface Event {
  readonly reason: string;
  readonly note: string;
  readonly regarding: { readonly apiVersion: string; readonly kind: string; readonly name: string };
}

/** The first Event with this reason about the object of this name. */
function noteOf(reason: string, name: string): Promise<Event> {
  return eventually(
    `${reason} on ${name}`,
    async () => {
      const list = await bed.plane.kubectl(["get", "events.events.k8s.io", "-o", "json"]);
      const { items } = JSON.parse(list) as { items: Event[] };
      return items.find((event) => event.reason === reason && event.regarding.name === name);
    },
    { withinMs: 90_000, everyMs: 300 },
  );
}

test("an endpoint in the API server's ServiceCIDR is refused by name", async () => {
  await bed.plane.apply(service("looping"), slice("looping-v4", "looping", ["10.96.200.200", bed.pod(1).host.ipv4]));
  const problem = await eventually("the problem", async () => {
    const problems = (await bed.agent.report())?.problems ?? [];
    return problems.find(({ key }) => key === "default/looping-v4");
  });
  expect(problem).toMatchObject({
    kind: "EndpointSlice",
    field: "endpoints[0].addresses[0]",
    reason: "10.96.200.200 is in the Services' network 10.96.0.0/16",
  });
  expect((await bed.agent.report())?.serviceCidrs).toContain("10.96.0.0/16");
  const event = await noteOf("EndpointRefused", "looping-v4");
  expect(event.regarding).toMatchObject({ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice" });
  expect(event.note).toBe(`node node1 does not serve ${problem.field}: ${problem.reason}`);
});

test("of two Services that want one address the younger is told so, by an Event", async () => {
  const claim = { externalIPs: ["198.51.100.81"], ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] };
  await bed.plane.apply(service("older", claim));
  // Ages are told in whole seconds.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await bed.plane.apply(service("a-younger", claim));
  const { note } = await noteOf("FrontendConflict", "a-younger");
  expect(note).toMatch(
    /^node node1 does not serve spec\.externalIPs\[0\]: 198\.51\.100\.81:(80\/TCP|53\/UDP) belongs to default\/older$/,
  );
});

test("in NodeCIDR mode other podCIDRs end the agent with status 1; a Node deleted alone does not", async () => {
  await bed.agent.daemon.stop();
  const config = {
    apiVersion: "portolan.io/v1alpha1",
    kind: "PortolanConfiguration",
    detectLocalMode: "NodeCIDR",
    healthzBindAddress: "none",
  };
  const agent = bed.startAgent({ config });
  await agent.inSync();
  await bed.plane.kubectl(["delete", "node", "node1"]);
  await agent.daemon.until("the deletion", () => agent.daemon.log().includes("was deleted") || undefined);
  expect(await agent.report()).toMatchObject({ synced: true });
  const spec = { podCIDR: "10.244.77.0/24", podCIDRs: ["10.244.77.0/24"] };
  await bed.plane.apply({ apiVersion: "v1", kind: "Node", metadata: { name: "node1" }, spec });
  expect(await agent.daemon.exited).toEqual({ code: 1, signal: null });
  expect(agent.daemon.tail()).toContain(
    "the Node's podCIDRs changed from 10.244.1.0/24,fd00:10:244:1::/64 to 10.244.77.0/24",
  );
});
