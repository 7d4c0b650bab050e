// SPDX-License-Identifier: Apache-2.0
// The API server away: at the agent's start, while it runs, and when it comes back with something changed.

import { join } from "node:path";
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
  await agent.saysIsAway(bed.plane.server);
  await sleep(3_000);
  expect(agent.daemon.exit).toBeUndefined();
  await bed.plane.startApiServer();
  await agent.inSync();
  await bed.reaches(bed.process, web, bed.pods);
});

test("away while it runs: traffic goes on, and what changed afterwards arrives", async () => {
  await bed.process.startLoad(web);
  await bed.plane.stopApiServer();
  await bed.agent.saysIsAway(bed.plane.server);
  await bed.plane.startApiServer();
  await bed.plane.apply(...slices("web", [bed.pod(2).host]));
  await bed.reaches(bed.process, web, [bed.pod(2)]);
  const { errors } = await bed.process.stopLoad();
  expect(errors).toEqual({});
  expect(bed.agent.daemon.exit).toBeUndefined();
});

test("the log tells of an outage, and of its end", async () => {
  const logged = (from: number, level: string) => () => {
    const lines = bed.agent.daemon.log().slice(from).split("\n");
    return lines.some((line) => line.includes(`"level":"${level}"`) && line.includes(bed.plane.server)) || undefined;
  };
  const told = (what: string): number => bed.agent.daemon.log().split(what).length;
  // The outage before this one may not be over for every watch: each waits for its own turn to try again.
  const isOver = (): true | undefined => told("the source is away") === told("the source is back") || undefined;
  await bed.agent.daemon.until("logs that the outage before is over", isOver, 150_000);
  const before = bed.agent.daemon.log().length;
  await bed.plane.stopApiServer();
  await bed.agent.daemon.until("warns that the API server is away", logged(before, "warn"));
  const during = bed.agent.daemon.log().length;
  await bed.plane.startApiServer();
  await bed.agent.daemon.until("logs that it is back", logged(during, "info"), 150_000);
});

test("an agent that starts during an outage serves what is pinned and takes nothing away", async () => {
  await bed.plane.stopApiServer("SIGTERM");
  await bed.agent.daemon.stop("SIGKILL");
  const agent = bed.startAgent();
  await agent.saysIsAway(bed.plane.server);
  await sleep(1_000);
  await bed.reaches(bed.process, web, [bed.pod(2)]);
  await bed.plane.startApiServer();
  await agent.inSync();
  await bed.reaches(bed.process, web, [bed.pod(2)]);
});

test("a cold start that knows the API server by its Service address alone goes to where it was last", async () => {
  await bed.agent.daemon.stop("SIGKILL");
  bed.agent.forgetPins();
  await bed.fails(bed.process, { ...web, timeoutMs: 200 }, "TIMEOUT");
  const kubeconfig = join(bed.dir, "in-cluster.kubeconfig");
  bed.plane.writeAgentKubeconfig(kubeconfig, "https://10.96.0.1:443");
  await bed.startAgent({ kubeconfig }).inSync();
  await bed.reaches(bed.process, web, [bed.pod(2)]);
});
