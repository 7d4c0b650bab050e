// SPDX-License-Identifier: Apache-2.0
// The agent's death and return: traffic goes on without it, and a new one that finds nothing changed writes nothing.

import { afterAll, beforeAll, expect, test } from "vitest";
import { command } from "../support/daemon.ts";
import { Bed } from "./bed.ts";
import { service, servicePort, slices } from "./objects.ts";

const web = { host: "10.96.0.80", port: servicePort.TCP } as const;
const web6 = { host: "fd00:96::80", port: servicePort.UDP, protocol: "UDP" } as const;

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 3 });
  await bed.startAgent().inSync();
  await bed.plane.apply(service("web", { clusterIP: web.host, clusterIPs: [web.host, web6.host] }));
  await bed.plane.apply(...slices("web", bed.hosts));
  await bed.reaches(bed.process, web, bed.pods);
});

afterAll(() => bed?.remove());

test("SIGKILL: no connection fails while it is dead, nor while the next one starts", async () => {
  await bed.process.startLoad(web);
  await bed.pod(1).startLoad(web6);
  await bed.agent.daemon.stop("SIGKILL");
  await bed.reaches(bed.process, web, bed.pods);
  await bed.reaches(bed.pod(2), web6, bed.pods);
  await bed.startAgent().inSync();
  for (const client of [bed.process, bed.pod(1)]) {
    const { answers, errors } = await client.stopLoad();
    expect(errors).toEqual({});
    expect(Object.keys(answers).sort()).toEqual(["pod1", "pod2", "pod3"]);
  }
});

test("a restart with nothing changed writes nothing", async () => {
  const before = await bed.agent.pinnedMaps();
  await bed.agent.daemon.stop("SIGKILL");
  const next = bed.startAgent();
  const { programmer } = await next.inSync();
  expect(programmer.writes).toBe(0);
  expect(programmer.units).toBeGreaterThan(0);
  expect(await next.pinnedMaps()).toEqual(before);
});

test("nor does one whose NodePorts answer on the Node's own addresses, which are not known at first", async () => {
  const config = {
    apiVersion: "portolan.io/v1alpha1",
    kind: "PortolanConfiguration",
    nodePortAddresses: ["primary"],
  };
  await command(["ip", "address", "add", "192.0.2.77/32", "dev", "lo"], { netns: bed.node.netns });
  await bed.agent.daemon.stop("SIGKILL");
  await bed.startAgent({ config }).inSync();
  const before = await bed.agent.pinnedMaps();
  await bed.agent.daemon.stop("SIGKILL");
  const next = bed.startAgent({ config });
  const { programmer } = await next.inSync();
  expect(programmer.writes).toBe(0);
  expect(await next.pinnedMaps()).toEqual(before);
  await command(["ip", "address", "del", "192.0.2.77/32", "dev", "lo"], { netns: bed.node.netns });
});

test("SIGTERM: dies of it and leaves the datapath in place", async () => {
  expect(await bed.agent.daemon.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  await bed.reaches(bed.process, web, bed.pods);
});

test("what changed while no agent was there counts once the next one is in sync", async () => {
  await bed.plane.apply(...slices("web", [bed.pod(3).host]));
  await bed.plane.apply(service("new", { clusterIP: "10.96.0.84", clusterIPs: ["10.96.0.84", "fd00:96::84"] }));
  await bed.plane.apply(...slices("new", [bed.pod(1).host]));
  await bed.startAgent().inSync();
  await bed.reaches(bed.process, web, [bed.pod(3)]);
  await bed.reaches(bed.pod(2), { ...web, host: "10.96.0.84" }, [bed.pod(1)]);
});
