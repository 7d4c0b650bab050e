// SPDX-License-Identifier: Apache-2.0
// What is taken of an EndpointSlice: addresses, conditions, hints, and what is refused with which field path.

import { expect, test } from "vitest";
import { CONDITION, type EndpointSlice, PROTOCOL } from "../../../../src/model/types.ts";
import { decodeEndpointSlice } from "../../../../src/source/decode/decode.ts";
import { problems, slice } from "../raw-objects.ts";

test("an EndpointSlice: only addresses[0], nil conditions resolved, nil names and ports left out", () => {
  const { READY, SERVING, TERMINATING } = CONDITION;
  const decoded = decodeEndpointSlice(
    slice({
      ports: [
        { name: "http", port: 8080 },
        { name: "", port: 9090, protocol: "UDP" },
        { port: 1 },
        { name: null, port: 2 },
        { name: "x", port: null },
        { name: "y", port: 0 },
      ],
      endpoints: [
        { addresses: ["10.0.0.1", "10.0.0.9"], nodeName: "node-1" },
        { addresses: ["10.0.0.2"], conditions: { ready: false } },
        { addresses: [] },
        { addresses: ["10.0.0.3"], conditions: { ready: false, serving: true, terminating: true }, nodeName: null },
        { addresses: ["10.0.0.4"], conditions: { ready: null, serving: false, terminating: null }, nodeName: "node-1" },
      ],
    }),
  );
  expect(decoded.problems).toEqual([]);
  const object = decoded.object as EndpointSlice;
  expect(object).toMatchObject({ namespace: "shop", name: "web-1", serviceName: "web", family: 4, count: 4 });
  expect(object.ports).toEqual([
    { name: "http", protocol: PROTOCOL.TCP, port: 8080 },
    { name: "", protocol: PROTOCOL.UDP, port: 9090 },
  ]);
  expect(object.addresses).toEqual([1, 2, 3, 4].map((i) => 0x0a000000 + i));
  expect([...object.conditions]).toEqual([READY | SERVING, SERVING, SERVING | TERMINATING, READY]);
  expect(object.nodeNames).toEqual(["node-1", null, null, "node-1"]);
});

test("hints: lists that are shared, [] for none, null for a slice without any", () => {
  const hints = (forZones: unknown, forNodes?: unknown) => ({ addresses: ["10.0.0.1"], hints: { forZones, forNodes } });
  const endpoints = [
    hints([{ name: "east" }, { name: "west" }]),
    { addresses: ["10.0.0.1"] },
    hints([], null),
    hints([{ name: "east" }, { name: "west" }], undefined),
    { addresses: ["10.0.0.1"], hints: null },
  ];
  const { object, problems: found } = decodeEndpointSlice(slice({ endpoints }));
  expect(found).toEqual([]);
  expect(object?.zoneHints).toEqual([["east", "west"], [], [], ["east", "west"], []]);
  expect(object?.zoneHints?.[3]).toBe(object?.zoneHints?.[0]);
  expect(object?.nodeHints).toBeNull();
  const other = decodeEndpointSlice(slice({ endpoints: [hints(null, [{ name: "node-a" }])] })).object;
  expect([other?.zoneHints, other?.nodeHints]).toEqual([null, [["node-a"]]]);
});

test("hints that are wrong are named and left out; an endpoint that is left out takes its hints along", () => {
  const decoded = decodeEndpointSlice(
    slice({
      endpoints: [
        {
          addresses: ["10.0.0.1"],
          hints: { forZones: "east", forNodes: [{ name: "" }, "node-a", { name: "node-b" }] },
        },
        { addresses: ["fd00::1"], hints: { forZones: [{ name: "west" }] } },
        { addresses: ["10.0.0.2"], hints: { forZones: [{ name: "east" }] } },
      ],
    }),
  );
  expect(decoded.object?.zoneHints).toEqual([[], ["east"]]);
  expect(decoded.object?.nodeHints).toEqual([["node-b"], []]);
  expect(problems(decoded)).toEqual([
    'endpoints[0].hints.forZones: must be a list, not "east"',
    'endpoints[0].hints.forNodes[0].name: must be a name, not ""',
    "endpoints[0].hints.forNodes[1].name: must be a name, not absent",
    'endpoints[1].addresses[0]: must be an IPv4 address, not "fd00::1"',
  ]);
});

test("what triggered a slice, to the millisecond; 0 if it does not say", () => {
  const triggered = (text: unknown) => {
    const annotations = { "endpoints.kubernetes.io/last-change-trigger-time": text };
    const object = slice();
    return decodeEndpointSlice({ ...object, metadata: { ...object.metadata, annotations } }).object?.triggerMs;
  };
  expect(triggered("2026-01-02T03:04:05.123456789Z")).toBe(Date.parse("2026-01-02T03:04:05.123Z"));
  expect([triggered("yesterday"), triggered(5), decodeEndpointSlice(slice()).object?.triggerMs]).toEqual([0, 0, 0]);
});

test.each([
  ["headless", slice({}, { "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "" })],
  ["nobody's", slice({}, {})],
  ["an empty service name", slice({}, { "kubernetes.io/service-name": "" })],
  ["FQDN", slice({ addressType: "FQDN" })],
])("a slice that is not ours, without a problem: %s", (_, object) => {
  expect(decodeEndpointSlice(object)).toEqual({ key: "shop/web-1", object: null, problems: [] });
});

test("a slice's wrong endpoints are named and left out, the right ones stay", () => {
  const decoded = decodeEndpointSlice(
    slice({
      ports: [{ name: "http", port: -1 }, 8080],
      endpoints: [
        { addresses: ["fd00::1"] },
        { addresses: ["10.0.0.1"] },
        "10.0.0.2",
        { addresses: "10.0.0.3" },
        { addresses: [4] },
        {},
      ],
    }),
  );
  expect(decoded.object).toMatchObject({ count: 1, ports: [], nodeNames: [null] });
  expect(decoded.problems.map(({ field }) => field)).toEqual([
    "ports[0].port",
    "ports[1]",
    "endpoints[0].addresses[0]",
    "endpoints[2]",
    "endpoints[3].addresses",
    "endpoints[4].addresses[0]",
  ]);
  expect(problems(decodeEndpointSlice(slice({ addressType: "IPv5" })))).toEqual([
    'addressType: must be IPv4, IPv6 or FQDN, not "IPv5"',
  ]);
});
