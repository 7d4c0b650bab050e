// SPDX-License-Identifier: Apache-2.0
// The endpoint sets against a plain reading of the rules, and the order and bytes that the diff relies on.

import { describe, expect, test } from "vitest";
import { type EndpointQuery, selectEndpoints } from "../../../src/compile/endpoints.ts";
import { ENDPOINT, ENDPOINT_STRIDE } from "../../../src/compile/unit.ts";
import { formatAddress } from "../../../src/model/address.ts";
import { CONDITION, type EndpointSlice, PROTOCOL } from "../../../src/model/types.ts";
import { fc } from "../../support/property.ts";
import { slice } from "./objects.ts";

const QUERY: EndpointQuery = {
  portName: "http",
  protocol: PROTOCOL.TCP,
  family: 4,
  nodeName: "node-a",
  zone: "",
  needsLocal: true,
};

interface Entry {
  readonly address: string;
  readonly port: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly local: boolean;
}

function unpack(bytes: Uint8Array): string[] {
  const out: string[] = [];
  for (let at = 0; at < bytes.length; at += ENDPOINT_STRIDE) {
    const port = (bytes[at + 16] ?? 0) * 256 + (bytes[at + 17] ?? 0);
    out.push(`${formatAddress(bytes, at)} ${port} ${bytes[at + 18]} ${bytes[at + 19]}`);
  }
  return out;
}

/** The rules in words of objects: merge by place, then each set for itself. */
function reference(entries: readonly Entry[], needsLocal: boolean): string[] {
  const places = Map.groupBy(entries, (entry) => `${entry.address} ${entry.port}`);
  const best = [...places.values()].map((same) => {
    const staying = same.some(({ terminating }) => !terminating)
      ? same.filter(({ terminating }) => !terminating)
      : same;
    const ready = staying.some((entry) => entry.ready) ? staying.filter((entry) => entry.ready) : staying;
    const serving = ready.some((entry) => entry.serving) ? ready.filter((entry) => entry.serving) : ready;
    return serving.find((entry) => entry.local) ?? (serving[0] as Entry);
  });
  const choose = (from: readonly Entry[]): readonly Entry[] => {
    const ready = from.filter((entry) => entry.ready);
    return ready.length > 0 ? ready : from.filter((entry) => entry.serving && entry.terminating);
  };
  const cluster = choose(best);
  const local = needsLocal ? choose(best.filter((entry) => entry.local)) : [];
  return best.flatMap((entry) => {
    const flags =
      (cluster.includes(entry) ? ENDPOINT.CLUSTER : 0) |
      (local.includes(entry) ? ENDPOINT.LOCAL : 0) |
      (entry.serving ? ENDPOINT.SERVING : 0);
    return flags === 0 ? [] : [`${entry.address} ${entry.port} ${flags} 0`];
  });
}

function sliceOf(entries: readonly Entry[], port: number): EndpointSlice {
  const addresses = entries.map(({ address }) => address);
  return slice("s", "web", addresses, {
    family: 4,
    ports: [{ name: "http", protocol: PROTOCOL.TCP, port }],
    conditions: Uint8Array.from(entries, ({ ready, serving, terminating }) => {
      return (
        (ready ? CONDITION.READY : 0) | (serving ? CONDITION.SERVING : 0) | (terminating ? CONDITION.TERMINATING : 0)
      );
    }),
    nodeNames: entries.map(({ local }) => (local ? "node-a" : "node-b")),
  });
}

/** A handful of places, so that they meet often. */
const entry = fc.record({
  address: fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.1.0", "192.168.0.1"),
  ready: fc.boolean(),
  serving: fc.boolean(),
  terminating: fc.boolean(),
  local: fc.boolean(),
});
const groups = fc.array(
  fc.record({ port: fc.constantFrom(80, 8080, 65535), entries: fc.array(entry, { maxLength: 6 }) }),
  {
    maxLength: 4,
  },
);

test("sets are those of the rules, whatever the order of slices", () => {
  fc.assert(
    fc.property(groups, fc.boolean(), (input, needsLocal) => {
      const named = input.map(({ port, entries }) => entries.map((item) => ({ ...item, port })));
      const slices = named.map((entries, i) => ({ slice: sliceOf(entries, input[i]?.port ?? 0), refused: null }));
      const { endpoints, clusterEmpty } = selectEndpoints(slices, { ...QUERY, needsLocal });
      const wanted = reference(named.flat(), needsLocal);
      expect(unpack(endpoints).sort()).toEqual(wanted.sort());
      expect(clusterEmpty).toBe(!wanted.some((line) => (Number(line.split(" ")[2]) & ENDPOINT.CLUSTER) !== 0));
      expect(selectEndpoints(slices.toReversed(), { ...QUERY, needsLocal }).endpoints).toEqual(endpoints);
    }),
    { numRuns: 3000 },
  );
});

test("ascending by address, then port, in bytes of their own", () => {
  const address = fc.oneof(fc.ipV4(), fc.constantFrom("127.255.255.255", "128.0.0.0", "0.0.0.1", "255.255.255.255"));
  fc.assert(
    fc.property(fc.uniqueArray(address, { maxLength: 40 }), fc.nat(65535), fc.nat(65535), (addresses, a, b) => {
      const slices = [a, b].map((port) => ({
        slice: slice("s", "web", addresses, { family: 4, ports: [{ name: "http", protocol: PROTOCOL.TCP, port }] }),
        refused: null,
      }));
      const { endpoints } = selectEndpoints(slices, QUERY);
      expect(endpoints.length).toBe(addresses.length * (a === b ? 1 : 2) * ENDPOINT_STRIDE);
      expect(endpoints.byteLength).toBe(endpoints.buffer.byteLength);
      const place = (at: number) => endpoints.subarray(at, at + 18);
      for (let at = ENDPOINT_STRIDE; at < endpoints.length; at += ENDPOINT_STRIDE) {
        expect(Buffer.compare(place(at - ENDPOINT_STRIDE), place(at))).toBe(-1);
      }
    }),
    { numRuns: 300 },
  );
});

describe("an endpoint takes part", () => {
  const accepted = { slice: slice("s", "web", ["10.0.0.1", "10.0.0.2"]), refused: null };
  test.each([
    ["with its slice port's number", QUERY, ["10.0.0.1 8080 5 0", "10.0.0.2 8080 5 0"]],
    ["not under another port name", { ...QUERY, portName: "" }, []],
    ["not under another protocol", { ...QUERY, protocol: PROTOCOL.UDP }, []],
    ["not in another family", { ...QUERY, family: 6 as const }, []],
    ["as local on its own node", { ...QUERY, nodeName: "node-b" }, ["10.0.0.1 8080 7 0", "10.0.0.2 8080 7 0"]],
    [
      "as local only if somebody asks",
      { ...QUERY, nodeName: "node-b", needsLocal: false },
      ["10.0.0.1 8080 5 0", "10.0.0.2 8080 5 0"],
    ],
  ])("%s", (_, query, lines) => {
    expect(unpack(selectEndpoints([accepted], query).endpoints)).toEqual(lines);
  });

  test("not if it is refused, though another slice may bring it", () => {
    const other = { slice: slice("t", "web", ["10.0.0.3"]), refused: null };
    expect(unpack(selectEndpoints([{ ...accepted, refused: new Set([0]) }, other], QUERY).endpoints)).toEqual([
      "10.0.0.2 8080 5 0",
      "10.0.0.3 8080 5 0",
    ]);
  });

  test("under each number of a slice that names the port twice", () => {
    const ports = [80, 81].map((port) => ({ name: "http", protocol: PROTOCOL.TCP, port }));
    const twice = { slice: slice("s", "web", ["10.0.0.1"], { ports }), refused: null };
    expect(unpack(selectEndpoints([twice], QUERY).endpoints)).toEqual(["10.0.0.1 80 5 0", "10.0.0.1 81 5 0"]);
  });
});
