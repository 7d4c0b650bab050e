// SPDX-License-Identifier: Apache-2.0
// decode: what is ours, what is taken of it, what is refused with which field path, and that nothing makes it throw.

import { expect, test } from "vitest";
import { PROTOCOL, type Service, UNKNOWN_AGE } from "../../../../src/model/types.ts";
import { decodeEndpointSlice, decodeService } from "../../../../src/source/decode/decode.ts";
import { mutated, objectEdits } from "../../../support/mutation.ts";
import { fc } from "../../../support/property.ts";
import { problems, service, slice } from "../raw-objects.ts";

const NOTHING = { object: null, problems: [] };

test("a full Service", () => {
  const decoded = decodeService(
    service(
      {
        type: "LoadBalancer",
        clusterIPs: ["10.96.0.1", "FD00:96::0001"],
        externalIPs: ["192.0.2.1", "192.0.2.1"],
        ports: [
          { name: "http", port: 80, nodePort: 30080, targetPort: "web" },
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53 },
        ],
        internalTrafficPolicy: "Local",
        externalTrafficPolicy: "Local",
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      },
      {
        status: {
          loadBalancer: {
            ingress: [
              { ip: "203.0.113.1" },
              { ip: "203.0.113.2", ipMode: "VIP" },
              { ip: "203.0.113.3", ipMode: "Proxy" },
              { hostname: "lb" },
            ],
          },
        },
      },
    ),
  );
  expect(decoded.problems).toEqual([]);
  expect(decoded.key).toBe("shop/web");
  expect(decoded.object).toEqual({
    namespace: "shop",
    name: "web",
    uid: "u-1",
    createdMs: Date.parse("2026-01-02T03:04:05Z"),
    type: "LoadBalancer",
    clusterIps: ["10.96.0.1", "fd00:96::1"],
    externalIps: ["192.0.2.1"],
    loadBalancerIps: ["203.0.113.1", "203.0.113.2"],
    ports: [
      { name: "http", protocol: PROTOCOL.TCP, port: 80, nodePort: 30080 },
      { name: "dns", protocol: PROTOCOL.UDP, port: 53, nodePort: 0 },
      { name: "dns-tcp", protocol: PROTOCOL.TCP, port: 53, nodePort: 0 },
    ],
    internalLocal: true,
    externalLocal: true,
    affinitySec: 60,
    sourceRanges: [],
    healthCheckNodePort: 0,
  } satisfies Service);
});

test("source ranges in canonical form, the health check's port", () => {
  const ranges = [" 10.1.2.3/8", "FD00::/64 ", "10.0.0.0/8", "192.0.2.1/32"];
  const { object, problems: found } = decodeService(
    service({ loadBalancerSourceRanges: ranges, healthCheckNodePort: 31000 }),
  );
  expect(found).toEqual([]);
  expect(object?.sourceRanges).toEqual(["10.0.0.0/8", "fd00::/64", "192.0.2.1/32"]);
  expect(object?.healthCheckNodePort).toBe(31000);
});

test("a wrong source range does not open a load balancer address to all", () => {
  const status = { loadBalancer: { ingress: [{ ip: "203.0.113.1" }, { ip: "2001:db8::1" }] } };
  const decoded = (ranges: unknown) => decodeService(service({ loadBalancerSourceRanges: ranges }, { status }));
  const one = decoded(["10.0.0.0/8", "everybody"]);
  expect(one.object?.loadBalancerIps).toEqual(["203.0.113.1"]);
  expect(problems(one)).toEqual(['spec.loadBalancerSourceRanges[1]: must be a CIDR, not "everybody"']);
  expect(decoded(["10.0.0.0"]).object?.loadBalancerIps).toEqual([]);
  expect(decoded([]).object?.loadBalancerIps).toHaveLength(2);
});

test.each([
  ["a name that is ours", "mesh", { "service.kubernetes.io/service-proxy-name": "mesh" }, true],
  ["another's name", "mesh", { "service.kubernetes.io/service-proxy-name": "mes" }, false],
  ["no name where one is wanted", "mesh", {}, false],
  ["an empty name where none is wanted", null, { "service.kubernetes.io/service-proxy-name": "" }, false],
])("service-proxy-name: %s", (_, ours, labels, accepted) => {
  const { object, problems: found } = decodeService(service({}, {}, labels), ours);
  expect([object !== null, found]).toEqual([accepted, []]);
});

test("a creation time that is none makes a Service the youngest", () => {
  const aged = (creationTimestamp: unknown) =>
    decodeService({ metadata: { name: "a", creationTimestamp }, spec: { clusterIP: "10.96.0.1" } }).object?.createdMs;
  expect(["1970-01-01", "1", 0, null, "2026-01-02T03:04:05"].map(aged)).toEqual(Array(5).fill(UNKNOWN_AGE));
  expect(aged("2026-01-02T03:04:05.5+01:00")).toBe(Date.parse("2026-01-02T02:04:05.500Z"));
});

test("labels that are none are not taken for no labels", () => {
  const object = { ...service(), metadata: { name: "a", labels: ["service.kubernetes.io/service-proxy-name"] } };
  expect(problems(decodeService(object))).toEqual(["metadata: labels must be an object, not a list"]);
});

test("the least of a Service", () => {
  const { object } = decodeService({ metadata: { name: "a" }, spec: { clusterIP: "::1:2", ports: [{ port: 1 }] } });
  expect(object).toMatchObject({
    namespace: "default",
    createdMs: UNKNOWN_AGE,
    uid: "",
    clusterIps: ["::1:2"],
    affinitySec: 0,
  });
});

test.each([
  ["headless", service({ clusterIP: "None", clusterIPs: ["None"] })],
  ["headless in clusterIPs only", service({ clusterIP: undefined, clusterIPs: ["None"] })],
  ["ExternalName", service({ type: "ExternalName", clusterIP: undefined, externalName: "example.com" })],
  ["another proxy's", service({}, {}, { "service.kubernetes.io/service-proxy-name": "" })],
])("a Service that is not ours, without a problem: %s", (_, object) => {
  expect(decodeService(object)).toEqual({ key: "shop/web", ...NOTHING });
});

test.each<[string, unknown, string[]]>([
  ["no object", 17, [": must be an object, not 17"]],
  ["no metadata", {}, ["metadata: must be an object"]],
  ["no name", { metadata: {} }, ["metadata: name must be a DNS name, not absent"]],
  ["a name for a path", { metadata: { name: "a/b" } }, ['metadata: name must be a DNS name, not "a/b"']],
  [
    "an upper-case namespace",
    { metadata: { name: "a", namespace: "B" } },
    ['metadata: namespace must be a DNS label, not "B"'],
  ],
  ["no spec", { metadata: { name: "a" } }, ["spec: must be an object, not absent"]],
  ["no ClusterIP", service({ clusterIP: "" }), ['spec.clusterIP: must be an IP address, not ""']],
  [
    "a name for a ClusterIP",
    service({ clusterIPs: ["web"] }),
    ['spec.clusterIPs[0]: must be an IP address, not "web"'],
  ],
  [
    "ClusterIPs no list",
    service({ clusterIPs: "x", clusterIP: null }),
    ['spec.clusterIPs: must be a list, not "x"', "spec.clusterIP: must be an IP address, not null"],
  ],
])("a Service rejected whole: %s", (_, object, expected) => {
  const decoded = decodeService(object);
  expect(decoded.object).toBeNull();
  expect(problems(decoded)).toEqual(expected);
});

test("a Service accepted without the fields that are wrong", () => {
  const decoded = decodeService(
    service(
      {
        clusterIPs: ["10.96.0.1", "10.96.0.999"],
        externalIPs: ["192.0.2.1", "192.0.2.01", 7],
        ports: [
          { port: 0 },
          { name: "a", port: 65536 },
          { name: "b", port: 80, protocol: "ICMP" },
          { name: "Upper", port: 81 },
          { name: "c", port: 82, nodePort: 70000 },
          { name: "c", port: 83 },
          { name: "d", port: 82 },
          "http",
        ],
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } },
      },
      { status: { loadBalancer: { ingress: [{ ip: "x" }, 5] } } },
    ),
  );
  expect(decoded.object).toMatchObject({
    clusterIps: ["10.96.0.1"],
    externalIps: ["192.0.2.1"],
    loadBalancerIps: [],
    ports: [{ name: "c", port: 82, nodePort: 0 }],
    affinitySec: 10_800,
  });
  expect(decoded.problems.map(({ field }) => field)).toEqual([
    "spec.clusterIPs[1]",
    "spec.externalIPs[1]",
    "spec.externalIPs[2]",
    "status.loadBalancer.ingress[0].ip",
    "status.loadBalancer.ingress[1]",
    "spec.ports[0].port",
    "spec.ports[1].port",
    "spec.ports[2].protocol",
    "spec.ports[3].name",
    "spec.ports[4].nodePort",
    "spec.ports[5].name",
    "spec.ports[6].port",
    "spec.ports[7]",
    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
  ]);
});

test("a thousand problems are summed up", () => {
  const endpoints = Array.from({ length: 1000 }, () => ({ addresses: ["nonsense"] }));
  const decoded = decodeEndpointSlice(slice({ endpoints }));
  expect(decoded.problems).toHaveLength(17);
  expect(decoded.problems.at(-1)).toMatchObject({ field: "", reason: "and 984 more problems" });
});

test("equal node names are one string in memory, and inherited members are none", () => {
  const inherited = Object.create({ metadata: { name: "a" } });
  expect(decodeService(inherited).key).toBeNull();
  expect(decodeService(JSON.parse('{"__proto__":{"metadata":{"name":"a"}}}')).key).toBeNull();
});

test("property: no mutation of a Service or a slice throws, and what comes out is sound", () => {
  const goodService = service(
    { clusterIPs: ["10.96.0.1"], externalIPs: ["192.0.2.1"], sessionAffinity: "ClientIP" },
    { status: { loadBalancer: { ingress: [{ ip: "203.0.113.1" }] } } },
  );
  fc.assert(
    fc.property(objectEdits, (changes) => {
      const s = decodeService(mutated(goodService, changes));
      expectSound(s, "Service");
      if (s.object !== null) {
        for (const port of s.object.ports) expect(port.port).toBeGreaterThan(0);
        expect(s.object.clusterIps.length).toBeGreaterThan(0);
      }
      const e = decodeEndpointSlice(mutated(slice(), changes));
      expectSound(e, "EndpointSlice");
      if (e.object !== null) {
        expect(e.object.addresses).toHaveLength((e.object.family === 6 ? 4 : 1) * e.object.count);
        expect(e.object.conditions).toHaveLength(e.object.count);
        expect(e.object.nodeNames).toHaveLength(e.object.count);
      }
    }),
    { numRuns: 20_000 },
  );
});

test("property: nothing at all throws", () => {
  fc.assert(
    fc.property(
      fc.anything({ maxDepth: 5, withBigInt: true, withSparseArray: true, withNullPrototype: true }),
      (value) => {
        expectSound(decodeService(value), "Service");
        expectSound(
          decodeEndpointSlice({
            metadata: { name: "a", labels: { "kubernetes.io/service-name": "b" } },
            addressType: "IPv6",
            endpoints: value,
            ports: value,
          }),
          "EndpointSlice",
        );
      },
    ),
    { numRuns: 5_000 },
  );
});

function expectSound(
  decoded: ReturnType<typeof decodeService> | ReturnType<typeof decodeEndpointSlice>,
  kind: string,
): void {
  expect(decoded.problems.length).toBeLessThanOrEqual(17);
  for (const problem of decoded.problems) {
    expect(problem.kind).toBe(kind);
    expect(problem.key).toBe(decoded.key ?? "");
    expect(problem.reason).not.toContain("internal");
    expect(problem.reason.length).toBeLessThan(300);
  }
  if (decoded.object !== null) expect(decoded.key).toBe(`${decoded.object.namespace}/${decoded.object.name}`);
}
