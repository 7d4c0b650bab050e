// SPDX-License-Identifier: Apache-2.0
// EndpointSlices as the real kube-controller-manager makes them from Pods whose status a kubelet would write.

import { afterAll, beforeAll, expect, test } from "vitest";
import { Bed } from "./bed.ts";
import { podObject, podStatus, service, servicePort } from "./objects.ts";
import type { Call, Pod } from "./pod.ts";

const clusterIPs = ["10.96.0.90", "fd00:96::90"] as const;
const calls: readonly Call[] = clusterIPs.flatMap((host) => [
  { host, port: servicePort.TCP },
  { host, port: servicePort.UDP, protocol: "UDP" },
]);

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 3, controllers: true });
  await bed.startAgent().inSync();
  await bed.plane.apply(service("web", { clusterIP: clusterIPs[0], clusterIPs, selector: { app: "web" } }));
  await bed.plane.apply(...bed.pods.map((pod) => podObject(pod.name, "web")));
});

afterAll(() => bed?.remove());

const setReady = (pod: Pod, ready: boolean) => bed.plane.patchStatus(["pod", pod.name], podStatus(pod.host, ready));

async function reachedOn(pods: readonly Pod[]): Promise<void> {
  for (const call of calls) await bed.reaches(bed.process, call, pods);
  for (const call of calls) await bed.reaches(bed.pod(2), call, pods);
}

test("pods without an address serve nobody", async () => {
  for (const call of calls) await bed.fails(bed.process, call, "ECONNREFUSED");
});

test("pods that become ready are endpoints, in both families", async () => {
  for (const pod of bed.pods) await setReady(pod, true);
  await reachedOn(bed.pods);
});

test("a pod that stops being ready gets no new connection", async () => {
  await setReady(bed.pod(1), false);
  await reachedOn([bed.pod(2), bed.pod(3)]);
});

test("a deleted pod leaves, one that is ready again comes back", async () => {
  await bed.plane.kubectl(["delete", "pod", "pod2", "--grace-period=0", "--force"]);
  await reachedOn([bed.pod(3)]);
  await setReady(bed.pod(1), true);
  await reachedOn([bed.pod(1), bed.pod(3)]);
});

test("a Service whose selector fits no pod refuses", async () => {
  await bed.plane.kubectl(["patch", "service", "web", "--type=merge", "-p", '{"spec":{"selector":{"app":"other"}}}']);
  for (const call of calls) await bed.fails(bed.process, call, "ECONNREFUSED");
  expect(bed.agents.at(-1)?.daemon.exit).toBeUndefined();
});
