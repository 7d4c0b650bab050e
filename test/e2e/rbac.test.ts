// SPDX-License-Identifier: Apache-2.0
// The role of deploy/rbac.yaml: what the API server grants the agent's account is what the agent asks for, and no more.

import { afterAll, beforeAll, expect, test } from "vitest";
import { Bed } from "./bed.ts";
import { service, servicePort, slices } from "./objects.ts";

interface ResourceRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

let bed: Bed;

beforeAll(async () => {
  bed = await Bed.create({ pods: 1 });
  await bed.startAgent().inSync();
});

afterAll(() => bed?.remove());

test("the account may read what is compiled, report events, and nothing else", async () => {
  const review = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectRulesReview",
    spec: { namespace: "default" },
  };
  const answer = await bed.plane.kubectlAsAgent(
    ["create", "--validate=false", "-f", "-", "-o", "json"],
    JSON.stringify(review),
  );
  const { resourceRules } = (JSON.parse(answer) as { status: { resourceRules: ResourceRule[] } }).status;
  const granted = resourceRules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`))),
  );
  // What system:basic-user gives every account.
  const everyone = /^create auth(orization|entication)\.k8s\.io\/selfsubject/;
  expect(granted.filter((grant) => !everyone.test(grant)).sort()).toEqual([
    "create /events",
    "create events.k8s.io/events",
    "get /nodes",
    "list /nodes",
    "list /services",
    "list discovery.k8s.io/endpointslices",
    "list networking.k8s.io/servicecidrs",
    "patch /events",
    "patch events.k8s.io/events",
    "update /events",
    "update events.k8s.io/events",
    "watch /nodes",
    "watch /services",
    "watch discovery.k8s.io/endpointslices",
    "watch networking.k8s.io/servicecidrs",
  ]);
});

test.for(["secrets", "pods", "configmaps", "endpoints", "namespaces"])("its token cannot list %s", async (resource) => {
  await expect(bed.plane.kubectlAsAgent(["get", resource, "--all-namespaces"])).rejects.toThrow("(Forbidden)");
});

test("its token cannot write what it reads", async () => {
  const input = JSON.stringify(service("intruder"));
  await expect(bed.plane.kubectlAsAgent(["create", "-f", "-"], input)).rejects.toThrow("(Forbidden)");
  await expect(bed.plane.kubectlAsAgent(["delete", "service", "kubernetes"])).rejects.toThrow("(Forbidden)");
});

test("under it the agent programs Services, is never refused, and asks only for the objects it serves", async () => {
  await bed.plane.apply(service("web", { clusterIP: "10.96.0.80", clusterIPs: ["10.96.0.80", "fd00:96::80"] }));
  await bed.plane.apply(...slices("web", bed.hosts));
  await bed.reaches(bed.process, { host: "10.96.0.80", port: servicePort.TCP }, bed.pods);
  const requests = bed.plane.agentRequests().filter(({ uri }) => !uri.includes("selfsubject"));
  const own = requests.filter(({ agent }) => !agent.startsWith("kubectl/"));
  expect(own.length).toBeGreaterThan(0);
  expect(own.filter(({ code }) => code >= 400)).toEqual([]);
  const query = (path: string) =>
    own.filter(({ uri }) => uri.startsWith(path)).map(({ uri }) => new URL(uri, "http://x"));
  for (const { searchParams } of query("/api/v1/services")) {
    expect(searchParams.get("labelSelector")).toBe("!service.kubernetes.io/service-proxy-name");
    expect(searchParams.get("fieldSelector")).toBe("spec.clusterIP!=None");
  }
  for (const { searchParams } of query("/apis/discovery.k8s.io/v1/endpointslices")) {
    expect(searchParams.get("labelSelector")).toBe("!service.kubernetes.io/headless");
  }
});
