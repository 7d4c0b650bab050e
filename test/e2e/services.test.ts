// SPDX-License-Identifier: Apache-2.0
// Services as kubectl makes them, called by processes of the node and of its pods through the real agent.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { command } from "../support/daemon.ts";
import { Bed } from "./bed.ts";
import { service, servicePort, slices } from "./objects.ts";
import type { Call, Pod } from "./pod.ts";

const nodePort = { TCP: 30_080, UDP: 30_053 } as const;
const addresses = {
  clusterIPs: ["10.96.0.80", "fd00:96::80"],
  externalIPs: ["198.51.100.7", "2001:db8::7"],
  ingress: ["203.0.113.7", "2001:db8:1::7"],
} as const;

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 3 });
  await bed.startAgent().inSync();
});

afterAll(() => bed?.remove());

/** The three ways a socket calls: TCP connect, UDP connect and send, UDP sendto. */
function ways(host: string, ports: { readonly TCP: number; readonly UDP: number }): Call[] {
  return [
    { host, port: ports.TCP },
    { host, port: ports.UDP, protocol: "UDP", connected: true },
    { host, port: ports.UDP, protocol: "UDP" },
  ];
}

const callers = (): Pod[] => [bed.process, bed.pod(1)];
const peerOf = ({ host, port }: Call): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

async function reachedByAll(calls: readonly Call[], by: readonly Pod[]): Promise<void> {
  for (const caller of callers()) {
    for (const call of calls) {
      const { peers } = await bed.reaches(caller, call, by);
      expect(peers, "the address the application sees is the one it called").toEqual([peerOf(call)]);
    }
  }
}

describe("a Service of type LoadBalancer with three endpoints", () => {
  beforeAll(async () => {
    const ports = [
      { name: "tcp", protocol: "TCP", port: servicePort.TCP, nodePort: nodePort.TCP },
      { name: "udp", protocol: "UDP", port: servicePort.UDP, nodePort: nodePort.UDP },
    ];
    const { clusterIPs, externalIPs } = addresses;
    const spec = { type: "LoadBalancer", clusterIP: clusterIPs[0], clusterIPs, externalIPs, ports };
    await bed.plane.apply(service("web", spec), ...slices("web", bed.hosts));
    await bed.plane.patchStatus(["service", "web"], {
      loadBalancer: { ingress: addresses.ingress.map((ip) => ({ ip, ipMode: "VIP" })) },
    });
  });

  test.for(addresses.clusterIPs)("answers on its ClusterIP %s", async (address) => {
    await reachedByAll(ways(address, servicePort), bed.pods);
  });

  test.for(addresses.externalIPs)("answers on its external IP %s", async (address) => {
    await reachedByAll(ways(address, servicePort), bed.pods);
  });

  test.for(addresses.ingress)("answers on its load balancer's IP %s", async (address) => {
    await reachedByAll(ways(address, servicePort), bed.pods);
  });

  test("answers on its NodePorts, on the node's addresses", async () => {
    for (const address of [bed.node.ipv4, bed.node.ipv6]) await reachedByAll(ways(address, nodePort), bed.pods);
  });

  test("answers on its NodePorts on the host's 127.0.0.1, not on a pod's own", async () => {
    for (const call of ways("127.0.0.1", nodePort)) {
      await bed.reaches(bed.process, call, bed.pods);
      // An unconnected UDP socket is not told of the ICMP error.
      const silent = call.protocol === "UDP" && !call.connected;
      await bed.fails(bed.pod(1), call, silent ? "TIMEOUT" : "ECONNREFUSED");
    }
  });

  test("follows its EndpointSlices down to one endpoint, to none, and up again", async () => {
    const [tcp4 = { host: "", port: 0 }] = ways(addresses.clusterIPs[0], servicePort);
    const all = addresses.clusterIPs.flatMap((address) => ways(address, servicePort));
    await bed.plane.apply(...slices("web", [bed.pod(2).host]));
    await reachedByAll(all, [bed.pod(2)]);
    await bed.plane.kubectl(["delete", "endpointslice", "web-v4"]);
    await bed.fails(bed.process, tcp4, "ECONNREFUSED");
    const [tcp6 = tcp4] = ways(addresses.clusterIPs[1], servicePort);
    await bed.reaches(bed.process, tcp6, [bed.pod(2)]);
    await bed.plane.apply(...slices("web", bed.hosts));
    await reachedByAll(all, bed.pods);
  });
});

test("a Service without endpoints refuses: TCP, UDP, both families, ClusterIP and NodePort", async () => {
  const clusterIPs = ["10.96.0.81", "fd00:96::81"] as const;
  const ports = [
    { name: "tcp", protocol: "TCP", port: servicePort.TCP, nodePort: 30_081 },
    { name: "udp", protocol: "UDP", port: servicePort.UDP, nodePort: 30_082 },
  ];
  await bed.plane.apply(service("empty", { type: "NodePort", clusterIP: clusterIPs[0], clusterIPs, ports }));
  const calls = [
    ...clusterIPs.flatMap((address) => ways(address, servicePort)),
    ...[bed.node.ipv4, bed.node.ipv6].flatMap((address) => ways(address, { TCP: 30_081, UDP: 30_082 })),
  ];
  for (const caller of callers()) for (const call of calls) await bed.fails(caller, call, "ECONNREFUSED");
});

test("a deleted Service answers nobody any more; its neighbour does not notice", async () => {
  const clusterIPs = ["10.96.0.82", "fd00:96::82"] as const;
  await bed.plane.apply(service("short-lived", { clusterIP: clusterIPs[0], clusterIPs }));
  await bed.plane.apply(...slices("short-lived", bed.hosts));
  const calls = clusterIPs.flatMap((address) => ways(address, servicePort));
  await reachedByAll(calls, bed.pods);
  await bed.process.startLoad({ host: addresses.clusterIPs[0], port: servicePort.TCP });
  await bed.plane.kubectl(["delete", "service", "short-lived"]);
  for (const caller of callers())
    for (const call of calls) await bed.fails(caller, { ...call, timeoutMs: 100 }, "TIMEOUT");
  const { answers, errors } = await bed.process.stopLoad();
  expect(errors).toEqual({});
  expect(Object.keys(answers).sort()).toEqual(["pod1", "pod2", "pod3"]);
});

test("ClientIP affinity keeps a caller on one endpoint", async () => {
  const spec = { clusterIP: "10.96.0.83", clusterIPs: ["10.96.0.83", "fd00:96::83"], sessionAffinity: "ClientIP" };
  await bed.plane.apply(service("sticky", spec), ...slices("sticky", bed.hosts));
  const calls = { host: "10.96.0.83", port: servicePort.TCP, times: 30 };
  const one = await bed.sees(bed.pod(1), calls, "one endpoint", ({ answers, errors }) => {
    return Object.keys(answers).length === 1 && Object.keys(errors).length === 0;
  });
  const again = await bed.pod(1).call(calls);
  expect(Object.keys(again.answers)).toEqual(Object.keys(one.answers));
});

test("a pod reaches the API server by the kubernetes Service", async () => {
  const place = { netns: bed.pod(1).host.netns, cgroup: bed.kubepods };
  const answer = await command(bed.plane.kubectlCommand(["--server=https://10.96.0.1", "get", "--raw=/readyz"]), place);
  expect(answer).toBe("ok");
});
