// SPDX-License-Identifier: Apache-2.0
// The API server away: at the agent's start, while it runs, and when it comes back with something changed.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Bed } from "./bed.ts";
import { service, servicePort, slices } from "./objects.ts";

const web = { host: "10.96.0.80", port: servicePort.TCP } as const;

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 2 });
  await bed.plane.apply(service("web", { clusterIP: web.host, clusterIPs: [web.host, "fd00:96::80"] }));
  await bed.plane.apply(...slices("web", bed.hosts));
});

afterAll(() => bed?.remove());

test("away at the start: it waits, says so and does not end; then it is in sync", async () => {
  await bed.plane.stopApiServer();
  const agent = bed.startAgent();
  await agent.saysApiServerIsAway();
  await sleep(3_000);
  expect(agent.daemon.exit).toBeUndefined();
  await bed.plane.startApiServer();
  await agent.inSync();
  await bed.reaches(bed.process, web, bed.pods);
});

test("away while it runs: traffic goes on, and what changed afterwards arrives", async () => {
  await bed.process.startLoad(web);
  await bed.plane.stopApiServer();
  await bed.agent.saysApiServerIsAway();
  await bed.plane.startApiServer();
  await bed.plane.apply(...slices("web", [bed.pod(2).host]));
  await bed.reaches(bed.process, web, [bed.pod(2)]);
  const { errors } = await bed.process.stopLoad();
  expect(errors).toEqual({});
  expect(bed.agent.daemon.exit).toBeUndefined();
});

test("an agent that starts during an outage serves what is pinned and takes nothing away", async () => {
  await bed.plane.stopApiServer("SIGTERM");
  await bed.agent.daemon.stop("SIGKILL");
  const agent = bed.startAgent();
  await agent.saysApiServerIsAway();
  await sleep(1_000);
  await bed.reaches(bed.process, web, [bed.pod(2)]);
  await bed.plane.startApiServer();
  await agent.inSync();
  await bed.reaches(bed.process, web, [bed.pod(2)]);
});
