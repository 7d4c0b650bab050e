// SPDX-License-Identifier: Apache-2.0
// What is current and what is dirty, for every kind of event in every order.

import { beforeEach, describe, expect, test } from "vitest";
import { Store } from "../../../src/model/store.ts";
import type { EndpointSlice } from "../../../src/model/types.ts";
import { service, slice } from "../compile/objects.ts";

let store: Store;
beforeEach(() => {
  store = new Store();
});

function syncBoth(): void {
  store.synced("services");
  store.synced("endpointslices");
}

describe("before both kinds have synced", () => {
  test.each([[[]], [["services"]], [["endpointslices"]], [["services", "services"]]] as const)(
    "%j: nothing is dirty",
    (kinds) => {
      store.service("default/a", service("a"), 1n);
      for (const kind of kinds) store.synced(kind);
      expect([store.ready, store.takeDirty().size]).toEqual([false, 0]);
    },
  );

  test("what came before is dirty afterwards, with its own time", () => {
    store.service("default/a", service("a"), 5n);
    store.takeDirty();
    syncBoth();
    expect(store.ready).toBe(true);
    expect([...store.takeDirty()]).toEqual([["default/a", 5n]]);
  });
});

describe("once synced", () => {
  beforeEach(syncBoth);

  test("a Service is dirty once, since its earliest change, until taken", () => {
    store.service("default/a", service("a"), 30n);
    store.endpointSlice("default/a-1", slice("a-1", "a", ["10.0.0.1"]), 10n);
    store.service("default/a", service("a", { affinitySec: 1 }), 20n);
    expect([...store.takeDirty()]).toEqual([["default/a", 10n]]);
    expect(store.takeDirty().size).toBe(0);
  });

  test("equal objects and the deletion of what is not there change nothing", () => {
    store.service("default/a", service("a"), 1n);
    store.endpointSlice("default/a-1", slice("a-1", "a", ["10.0.0.1"]), 1n);
    store.takeDirty();
    const held = [store.getService("default/a"), ...store.slicesOf("default/a")];
    store.service("default/a", service("a"), 2n);
    store.endpointSlice("default/a-1", slice("a-1", "a", ["10.0.0.1"]), 2n);
    store.service("default/b", null, 2n);
    store.endpointSlice("default/b-1", null, 2n);
    expect(store.takeDirty().size).toBe(0);
    const holds = [store.getService("default/a"), ...store.slicesOf("default/a")];
    expect(holds.every((object, i) => object === held[i])).toBe(true);
  });

  test("every single field of a Service makes it dirty", () => {
    const changes = [
      { uid: "x" },
      { createdMs: 1 },
      { type: "NodePort" },
      { clusterIps: ["10.0.0.9"] },
      { clusterIps: [] },
      { externalIps: ["10.0.0.9"] },
      { loadBalancerIps: ["10.0.0.9"] },
      { ports: [] },
      { internalLocal: true },
      { externalLocal: true },
      { affinitySec: 1 },
      { sourceRanges: ["10.0.0.0/8"] },
      { healthCheckNodePort: 31000 },
      ...[{ name: "x" }, { protocol: 17 as const }, { port: 1 }, { nodePort: 1 }].map((change) => ({
        ports: [{ name: "http", protocol: 6 as const, port: 80, nodePort: 0, ...change }],
      })),
    ];
    for (const change of changes) {
      store.service("default/a", service("a"), 1n);
      store.takeDirty();
      store.service("default/a", service("a", change), 2n);
      expect([...store.takeDirty()], JSON.stringify(change)).toEqual([["default/a", 2n]]);
    }
  });

  test("every single field of a slice makes its Service dirty", () => {
    const before = slice("a-1", "a", ["10.0.0.1", "10.0.0.2"]);
    const changes = [
      { family: 6 as const },
      { ports: [] },
      { conditions: Uint8Array.of(3, 1) },
      { nodeNames: ["node-b", "node-a"] },
      { nodeNames: [null, "node-b"] },
      { addresses: slice("a-1", "a", ["10.0.0.1", "10.0.0.3"]).addresses },
      { zoneHints: [["east"], []] },
      { nodeHints: [[], ["node-a"]] },
      slice("a-1", "a", ["10.0.0.1"]),
      ...[{ name: "x" }, { protocol: 17 as const }, { port: 1 }].map((change) => ({
        ports: [{ name: "http", protocol: 6 as const, port: 8080, ...change }],
      })),
    ];
    for (const [i, change] of changes.entries()) {
      store.endpointSlice("default/a-1", before, 1n);
      store.takeDirty();
      store.endpointSlice("default/a-1", { ...before, ...change }, 2n);
      expect([...store.takeDirty()], `change ${i}`).toEqual([["default/a", 2n]]);
    }
  });

  test("of hints every name counts; what triggered a slice does not", () => {
    const hinted = { zoneHints: [["east"], ["west"]], nodeHints: [["node-a"], []] };
    const put = (change: Partial<EndpointSlice>): void => {
      store.endpointSlice("default/a-1", slice("a-1", "a", ["10.0.0.1", "10.0.0.2"], change), 1n);
    };
    const dirties = (change: Partial<EndpointSlice>): boolean => {
      put(hinted);
      store.takeDirty();
      put({ ...hinted, ...change });
      return store.takeDirty().size > 0;
    };
    expect(dirties({ zoneHints: [["east"], ["west"]], nodeHints: [["node-a"], []] })).toBe(false);
    expect(dirties({ triggerMs: 5 })).toBe(false);
    expect(dirties({ zoneHints: [["east"], ["east"]] })).toBe(true);
    expect(dirties({ zoneHints: [["east", "west"], ["west"]] })).toBe(true);
    expect(dirties({ nodeHints: [["node-a"], ["node-a"]] })).toBe(true);
    expect(dirties({ nodeHints: null })).toBe(true);
  });

  test("a slice that changes its Service dirties both, and belongs to the new one", () => {
    store.endpointSlice("default/s", slice("s", "a", ["10.0.0.1"]), 1n);
    store.takeDirty();
    store.endpointSlice("default/s", slice("s", "b", ["10.0.0.1"]), 2n);
    expect([...store.takeDirty().keys()].sort()).toEqual(["default/a", "default/b"]);
    expect([store.slicesOf("default/a").length, store.slicesOf("default/b").length]).toEqual([0, 1]);
  });

  test("slices are found by their Service, in its namespace, whichever goes", () => {
    const names = ["s-1", "s-2", "s-3"];
    for (const name of names) store.endpointSlice(`default/${name}`, slice(name, "a", ["10.0.0.1"]), 1n);
    store.endpointSlice("other/s-1", slice("s-1", "a", ["10.0.0.1"], { namespace: "other" }), 1n);
    store.endpointSlice("default/s-2", null, 1n);
    store.endpointSlice("default/s-1", slice("s-1", "a", ["10.0.0.2"]), 1n);
    expect(
      store
        .slicesOf("default/a")
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["s-1", "s-3"]);
    expect(store.slicesOf("other/a").length).toBe(1);
    expect(store.slicesOf("default/nobody")).toEqual([]);
  });

  test("counts follow", () => {
    store.service("default/a", service("a"), 1n);
    store.endpointSlice("default/s", slice("s", "a", ["10.0.0.1", "10.0.0.2"]), 1n);
    expect([store.serviceCount, store.sliceCount, store.endpointCount]).toEqual([1, 1, 2]);
    store.endpointSlice("default/s", slice("s", "a", ["10.0.0.1"]), 1n);
    expect([store.serviceCount, store.sliceCount, store.endpointCount]).toEqual([1, 1, 1]);
    store.endpointSlice("default/s", null, 1n);
    store.service("default/a", null, 1n);
    expect([store.serviceCount, store.sliceCount, store.endpointCount]).toEqual([0, 0, 0]);
    expect([...store.serviceKeys()]).toEqual([]);
  });
});
