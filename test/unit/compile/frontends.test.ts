// SPDX-License-Identifier: Apache-2.0
// What a Service asks for: roles, flags, order, claims. Which addresses are refused is told by the scenarios.

import { describe, expect, test } from "vitest";
import { offerFrontends } from "../../../src/compile/frontends.ts";
import { PROTOCOL, type Service } from "../../../src/model/types.ts";
import { facts, options, service } from "./objects.ts";

const OPTIONS = options();

const everything: Partial<Service> = {
  clusterIps: ["fd00::1", "10.96.0.1"],
  externalIps: ["198.51.100.9", "198.51.100.10", "2001:db8::9"],
  loadBalancerIps: ["203.0.113.1"],
  ports: [
    { name: "http", protocol: PROTOCOL.TCP, port: 80, nodePort: 30080 },
    { name: "dns", protocol: PROTOCOL.UDP, port: 53, nodePort: 0 },
  ],
};

test("one offer a port and family, IPv4 first, frontends by role and address", () => {
  const { ports, problems } = offerFrontends(service("web", everything), OPTIONS, facts());
  expect(
    ports.map(({ port, family, candidates }) => [port.name, family, candidates.map(({ claim }) => claim)]),
  ).toEqual([
    [
      "http",
      4,
      [
        "10.96.0.1:80/TCP",
        "198.51.100.10:80/TCP",
        "198.51.100.9:80/TCP",
        "203.0.113.1:80/TCP",
        "NodePort 30080/TCP over IPv4",
      ],
    ],
    ["http", 6, ["[fd00::1]:80/TCP", "[2001:db8::9]:80/TCP", "NodePort 30080/TCP over IPv6"]],
    ["dns", 4, ["10.96.0.1:53/UDP", "198.51.100.10:53/UDP", "198.51.100.9:53/UDP", "203.0.113.1:53/UDP"]],
    ["dns", 6, ["[fd00::1]:53/UDP", "[2001:db8::9]:53/UDP"]],
  ]);
  expect(problems).toEqual([]);
});

test("the order of the Service's lists is not the order of its frontends", () => {
  const turned = {
    ...everything,
    clusterIps: everything.clusterIps?.toReversed() ?? [],
    externalIps: everything.externalIps?.toReversed() ?? [],
  };
  const frontends = (change: Partial<Service>): unknown =>
    offerFrontends(service("web", change), OPTIONS, facts()).ports.map((port) =>
      port.candidates.map(({ frontend }) => frontend),
    );
  expect(frontends(turned)).toEqual(frontends(everything));
});

describe("policies", () => {
  test.each([
    [
      {},
      [
        [false, false],
        [false, false],
        [false, false],
        [false, false],
      ],
    ],
    [
      { internalLocal: true },
      [
        [true, false],
        [false, false],
        [false, false],
        [false, false],
      ],
    ],
    [
      { externalLocal: true },
      [
        [false, false],
        [false, true],
        [false, true],
        [false, true],
      ],
    ],
    [
      { internalLocal: true, externalLocal: true },
      [
        [true, false],
        [false, true],
        [false, true],
        [false, true],
      ],
    ],
  ])("%j on ClusterIP, ExternalIP, LoadBalancer, NodePort", (policies, flags) => {
    const change = { ...everything, ...policies, clusterIps: ["10.96.0.1"], externalIps: ["198.51.100.9"] };
    const [first] = offerFrontends(service("web", change), OPTIONS, facts()).ports;
    expect(first?.candidates.map(({ frontend }) => [frontend?.internalLocal, frontend?.externalLocal])).toEqual(flags);
  });
});

test("without a ClusterIP there is nothing, not even a problem", () => {
  const change = {
    ...everything,
    clusterIps: [],
    externalIps: ["127.0.0.1"],
    ports: [{ name: "", protocol: PROTOCOL.SCTP, port: 1, nodePort: 2 }],
  };
  expect(offerFrontends(service("web", change), OPTIONS, facts())).toEqual({ ports: [], problems: [] });
});

test("a ClusterIP is refused only if it is impossible", () => {
  const ips = [
    "169.254.0.9",
    "240.0.0.1",
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "fe80::1",
  ];
  const { ports, problems } = offerFrontends(service("web", { clusterIps: ips }), OPTIONS, facts());
  expect(ports.flatMap(({ candidates }) => candidates.map(({ frontend }) => frontend?.address))).toEqual([
    "169.254.0.9",
    "240.0.0.1",
    "fe80::1",
  ]);
  expect(problems.map(({ field }) => field)).toEqual([2, 3, 4, 5, 6, 7].map((i) => `spec.clusterIPs[${i}]`));
});

test("a Service that loses its only ClusterIP to a device keeps its family, and its claim", () => {
  const devices = options({ deviceAddresses: new Set(["10.96.0.1"]) });
  const { ports } = offerFrontends(service("web", { loadBalancerIps: ["203.0.113.1"] }), devices, facts());
  const [offer] = ports;
  expect(offer?.candidates.map(({ claim }) => claim)).toEqual(["10.96.0.1:80/TCP", "203.0.113.1:80/TCP"]);
  expect(offer?.candidates.map(({ frontend }) => frontend?.role)).toEqual([undefined, "loadBalancer"]);
});
