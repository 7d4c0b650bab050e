// SPDX-License-Identifier: Apache-2.0
// The compiler's memory: whatever the history, it holds what a compile from nothing would give, tells exactly what
// changed, and looks at nothing that a change does not concern.

import { describe, expect, test } from "vitest";
import { Compiler } from "../../../src/compile/compile.ts";
import type { CompileOptions } from "../../../src/compile/frontends.ts";
import type { Unit } from "../../../src/compile/unit.ts";
import { type Cidr, parseCidr } from "../../../src/model/address.ts";
import { Store, type StoreView } from "../../../src/model/store.ts";
import { type EndpointSlice, type NodeFacts, PROTOCOL, type Problem, type Service } from "../../../src/model/types.ts";
import { fc } from "../../support/property.ts";
import { facts, options, service, slice } from "./objects.ts";

const FACTS = facts();
const OPTIONS = options();
const NAMES = ["a", "b", "c"];
/** Few enough that Services, endpoints and devices meet. */
const CLUSTER_IPS = ["10.96.0.1", "10.96.0.2", "fd00::1", "127.0.0.1"];
const EXTERNAL_IPS = ["198.51.100.1", "10.96.0.1", "2001:db8::1", "127.0.0.1"];
const ENDPOINTS = ["10.244.0.1", "10.244.0.2", "10.96.0.2", "127.0.0.1"];

type Step =
  | { readonly what: "service"; readonly key: string; readonly object: Service | null }
  | { readonly what: "slice"; readonly key: string; readonly object: EndpointSlice | null }
  | { readonly what: "devices"; readonly addresses: readonly string[] }
  | { readonly what: "facts"; readonly facts: NodeFacts }
  | { readonly what: "serviceCidrs"; readonly cidrs: readonly string[] }
  | { readonly what: "compile" };

const port = fc.record({
  name: fc.constantFrom("http", "dns"),
  protocol: fc.constantFrom(PROTOCOL.TCP, PROTOCOL.UDP, PROTOCOL.SCTP),
  port: fc.constantFrom(80, 81),
  nodePort: fc.constantFrom(0, 30080),
});
const serviceStep = fc
  .record({
    name: fc.constantFrom(...NAMES),
    gone: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    change: fc.record({
      createdMs: fc.nat(2),
      clusterIps: fc.subarray(CLUSTER_IPS),
      externalIps: fc.subarray(EXTERNAL_IPS),
      loadBalancerIps: fc.subarray(EXTERNAL_IPS),
      ports: fc.uniqueArray(port, { maxLength: 2, selector: ({ name }) => name }),
      internalLocal: fc.boolean(),
      externalLocal: fc.boolean(),
      affinitySec: fc.constantFrom(0, 60),
      sourceRanges: fc.subarray(["10.0.0.0/8", "198.51.100.0/24", "fd00::/8"]),
    }),
  })
  .map(
    ({ name, gone, change }): Step => ({
      what: "service",
      key: `default/${name}`,
      object: gone ? null : service(name, change),
    }),
  );
const sliceStep = fc
  .record({
    name: fc.constantFrom("s-1", "s-2", "s-3"),
    serviceName: fc.constantFrom(...NAMES),
    gone: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    addresses: fc.subarray(ENDPOINTS),
    conditions: fc.uint8Array({ minLength: 4, maxLength: 4, max: 7 }),
    nodeNames: fc.array(fc.constantFrom("node-a", "node-b", null), { minLength: 4, maxLength: 4 }),
    portName: fc.constantFrom("http", "dns"),
    zones: fc.array(fc.constantFrom(["east"], ["west"], []), { minLength: 4, maxLength: 4 }),
    hinted: fc.boolean(),
  })
  .map(({ name, gone, serviceName, addresses, conditions, nodeNames, portName, zones, hinted }): Step => {
    const object = slice(name, serviceName, addresses, {
      family: 4,
      ports: [PROTOCOL.TCP, PROTOCOL.UDP].map((protocol) => ({ name: portName, protocol, port: 8080 })),
      conditions: conditions.slice(0, addresses.length),
      nodeNames: nodeNames.slice(0, addresses.length),
      zoneHints: hinted ? zones.slice(0, addresses.length) : null,
    });
    return { what: "slice", key: `default/${name}`, object: gone ? null : object };
  });
const factsStep = fc
  .record({
    zone: fc.constantFrom("", "east", "west"),
    primaryAddresses: fc.subarray(["198.51.100.1", "fd00::7"]),
    podCidrs: fc.subarray(["10.244.0.0/16", "198.51.100.0/24"]),
  })
  .map((change): Step => ({ what: "facts", facts: facts(change) }));
const serviceCidrsStep = fc
  .subarray(["10.96.0.0/16", "10.244.0.0/31"])
  .map((cidrs): Step => ({ what: "serviceCidrs", cidrs }));
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: serviceStep, weight: 4 },
  { arbitrary: sliceStep, weight: 4 },
  { arbitrary: fc.subarray(CLUSTER_IPS).map((addresses): Step => ({ what: "devices", addresses })), weight: 1 },
  { arbitrary: factsStep, weight: 1 },
  { arbitrary: serviceCidrsStep, weight: 1 },
  { arbitrary: fc.constant<Step>({ what: "compile" }), weight: 3 },
);

/** What a stage behind holds after taking every delta; throws on a delta that is not exact. */
class Follower {
  readonly units = new Map<string, Unit>();
  readonly problems = new Map<string, readonly Problem[]>();

  take({ upserted, removed, problems }: ReturnType<Compiler["update"]>): void {
    for (const key of removed) if (!this.units.delete(key)) throw new Error(`${key} was not there`);
    for (const unit of upserted) {
      const before = this.units.get(unit.key);
      if (before !== undefined && JSON.stringify(plain(before)) === JSON.stringify(plain(unit)))
        throw new Error("no change");
      this.units.set(unit.key, unit);
    }
    for (const [key, list] of problems) {
      if (list.length === 0) this.problems.delete(key);
      else this.problems.set(key, list);
    }
  }

  state(): unknown {
    const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);
    return {
      units: [...this.units].sort(byKey).map(([, unit]) => plain(unit)),
      problems: [...this.problems].sort(byKey),
    };
  }
}

function plain(unit: Unit): unknown {
  return { ...unit, endpoints: [...unit.endpoints] };
}

function syncedStore(): Store {
  const store = new Store();
  store.synced("services");
  store.synced("endpointslices");
  return store;
}

const cidrs = (texts: readonly string[]): Cidr[] => texts.map((text) => parseCidr(text) as Cidr);

interface Outcome {
  readonly store: Store;
  readonly compiler: Compiler;
  readonly follower: Follower;
  /** What a compiler has to be told that sees all this for the first time. */
  readonly facts: NodeFacts;
  readonly options: CompileOptions;
}

function play(steps: readonly Step[], given: CompileOptions = OPTIONS): Outcome {
  const store = syncedStore();
  const compiler = new Compiler(FACTS, given);
  const follower = new Follower();
  let now = { facts: FACTS, options: given };
  const affected = new Set<string>();
  const affect = (keys: Iterable<string> | "all"): void => {
    for (const key of keys === "all" ? store.serviceKeys() : keys) affected.add(key);
  };
  for (const item of [...steps, { what: "compile" } as const]) {
    if (item.what === "service") store.service(item.key, item.object, 1n);
    else if (item.what === "slice") store.endpointSlice(item.key, item.object, 1n);
    else if (item.what === "devices") {
      now = { ...now, options: { ...now.options, deviceAddresses: new Set(item.addresses) } };
      affect(compiler.setDeviceAddresses(now.options.deviceAddresses));
    } else if (item.what === "facts") {
      now = { ...now, facts: item.facts };
      affect(compiler.setFacts(item.facts));
    } else if (item.what === "serviceCidrs") {
      now = { ...now, options: { ...now.options, serviceCidrs: cidrs(item.cidrs) } };
      affect(compiler.setServiceCidrs(now.options.serviceCidrs));
    } else {
      follower.take(compiler.update(store, [...store.takeDirty().keys(), ...affected]));
      affected.clear();
    }
  }
  return { store, compiler, follower, ...now };
}

/** The state of a compiler that sees these objects for the first time, all at once. */
function fromNothing({ store, facts: known, options: given }: Outcome): unknown {
  const follower = new Follower();
  follower.take(new Compiler(known, given).update(store, "all"));
  return follower.state();
}

const CONFINED = options({ externalIpsAllowed: cidrs(["0.0.0.0/0", "::/0"]), clusterCidrs: cidrs(["2001:db8::/32"]) });

describe("after any history", () => {
  test.each([
    ["as kube-proxy has it", OPTIONS],
    ["with an allow-list", CONFINED],
  ])("%s, all is as compiled from nothing, and nothing is left to change", (_, given) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30, size: "max" }), (steps) => {
        const outcome = play(steps, given);
        const { store, compiler, follower } = outcome;
        expect(follower.state()).toEqual(fromNothing(outcome));
        expect([...compiler.units()].map(({ key }) => key).sort()).toEqual([...follower.units.keys()].sort());
        const again = compiler.update(store, "all");
        expect([...again.upserted, ...again.removed]).toEqual([]);
      }),
      { numRuns: 2000 },
    );
  });

  test("no frontend is served twice", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const rows = [...play(steps).follower.units.values()].flatMap((unit) =>
          unit.frontends.map(({ address, port: number }) => `${address || unit.family}:${number}/${unit.protocol}`),
        );
        expect(rows.length).toBe(new Set(rows).size);
      }),
      { numRuns: 500 },
    );
  });
});

test("the order of events makes no difference", () => {
  const objects = fc
    .array(fc.oneof(serviceStep, sliceStep), { maxLength: 8 })
    .map((steps) => [
      ...new Map(steps.map((item) => [`${item.what} ${"key" in item ? item.key : ""}`, item])).values(),
    ]);
  const orders = objects.chain((steps) =>
    fc.tuple(fc.constant(steps), fc.shuffledSubarray(steps, { minLength: steps.length })),
  );
  const compileAfterEach = (steps: readonly Step[]): Step[] => steps.flatMap((item) => [item, { what: "compile" }]);
  fc.assert(
    fc.property(orders, ([one, other]) => {
      expect(play(compileAfterEach(other)).follower.state()).toEqual(play(one).follower.state());
    }),
    { numRuns: 1000 },
  );
});

describe("a change concerns", () => {
  /** Counts what the compiler reads of the view. */
  function watched(store: Store): { view: StoreView; read: Set<string> } {
    const read = new Set<string>();
    const note = <T>(key: string, value: T): T => {
      read.add(key);
      return value;
    };
    const view: StoreView = {
      getService: (key) => note(key, store.getService(key)),
      slicesOf: (key) => note(key, store.slicesOf(key)),
      serviceKeys: () => {
        throw new Error("every Service was looked at");
      },
    };
    return { view, read };
  }

  function thousand(): { store: Store; compiler: Compiler } {
    const store = syncedStore();
    for (let i = 0; i < 1000; i++) {
      const ip = `10.96.${i >> 8}.${i & 255}`;
      store.service(`default/s-${i}`, service(`s-${i}`, { createdMs: i, clusterIps: [ip] }), 1n);
      store.endpointSlice(`default/e-${i}`, slice(`e-${i}`, `s-${i}`, [`10.244.${i >> 8}.${i & 255}`]), 1n);
    }
    const compiler = new Compiler(FACTS, OPTIONS);
    compiler.update(store, store.takeDirty().keys());
    return { store, compiler };
  }

  test.each<[string, (store: Store) => void, readonly string[]]>([
    [
      "its Service alone: a slice",
      (store) => store.endpointSlice("default/e-7", slice("e-7", "s-7", ["10.244.9.9"]), 2n),
      ["s-7"],
    ],
    [
      "its Service alone: a new Service",
      (store) => store.service("default/new", service("new", { clusterIps: ["10.97.0.1"] }), 2n),
      ["new"],
    ],
    [
      "the claimants of its frontends: an older Service",
      (store) => store.service("default/old", service("old", { createdMs: 0, clusterIps: ["10.96.1.1"] }), 2n),
      ["old", "s-257"],
    ],
    [
      "nobody but itself: a younger claimant",
      (store) => store.service("default/young", service("young", { createdMs: 9999, clusterIps: ["10.96.1.1"] }), 2n),
      ["young"],
    ],
    [
      "nobody: a Service that becomes as it was",
      (store) => {
        store.service("default/s-7", service("s-7"), 2n);
        store.service("default/s-7", service("s-7", { createdMs: 7, clusterIps: ["10.96.0.7"] }), 3n);
      },
      ["s-7"],
    ],
  ])("%s", (_, act, names) => {
    const { store, compiler } = thousand();
    act(store);
    const { view, read } = watched(store);
    compiler.update(view, store.takeDirty().keys());
    expect([...read].sort()).toEqual(names.map((name) => `default/${name}`));
  });

  test("nothing in the delta if the units come out as they were", () => {
    const { store, compiler } = thousand();
    const before = [...compiler.units()];
    store.endpointSlice("default/e-7b", slice("e-7b", "s-7", ["10.244.0.7"]), 2n);
    const delta = compiler.update(store, store.takeDirty().keys());
    expect([delta.upserted, delta.removed, [...delta.problems]]).toEqual([[], [], [["default/s-7", []]]]);
    expect([...compiler.units()].every((unit, i) => unit === before[i])).toBe(true);
  });
});

test("a problem that ends is said to have ended", () => {
  const store = syncedStore();
  const compiler = new Compiler(FACTS, OPTIONS);
  store.service("default/a", service("a", { externalIps: ["127.0.0.1"] }), 1n);
  expect(compiler.update(store, store.takeDirty().keys()).problems.get("default/a")?.length).toBe(1);
  store.service("default/a", null, 1n);
  expect(compiler.update(store, store.takeDirty().keys()).problems.get("default/a")).toEqual([]);
});

describe("a unit", () => {
  function unitsOf(change: Partial<Service>): readonly Unit[] {
    const store = syncedStore();
    store.service("default/a", service("a", change), 1n);
    store.endpointSlice("default/a-1", slice("a-1", "a", ["10.244.0.1"]), 1n);
    return new Compiler(FACTS, OPTIONS).update(store, "all").upserted;
  }

  test("says what it is", () => {
    const endpoint = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 244, 0, 1, 0x1f, 0x90, 5, 0];
    const clusterIp = { role: "clusterIP", address: "10.96.0.1", port: 80, internalLocal: false, externalLocal: false };
    expect(unitsOf({ affinitySec: 60 }).map(plain)).toEqual([
      {
        key: "default/a:http/TCP/4",
        service: "default/a",
        name: "default/a:http",
        family: 4,
        protocol: PROTOCOL.TCP,
        frontends: [clusterIp],
        endpoints: endpoint,
        emptyLocal: "reject",
        affinitySec: 60,
        sourceRanges: null,
      },
    ]);
  });

  test("answers an empty local set only if it has one", () => {
    const answers = [{}, { externalLocal: true }, { internalLocal: true }].map(
      (change) => unitsOf(change)[0]?.emptyLocal,
    );
    expect(answers).toEqual(["reject", "reject", "drop"]);
  });

  test("is not there without a frontend", () => {
    expect(unitsOf({ clusterIps: ["127.0.0.1"] })).toEqual([]);
  });
});

test("a Service without room for its frontends is refused whole and named, and comes when another goes", () => {
  const compiler = new Compiler(FACTS, options({ mostFrontends: 5 }));
  const store = new Store();
  store.synced("services");
  store.synced("endpointslices");
  const put = (name: string, count: number, createdMs: number): void => {
    const ports = Array.from({ length: count }, (_, i) => ({
      name: `p${i}`,
      protocol: PROTOCOL.TCP,
      port: 80 + i,
      nodePort: 0,
    }));
    store.service(`default/${name}`, service(name, { createdMs, clusterIps: [`10.96.0.${createdMs}`], ports }), 1n);
  };
  const update = () => compiler.update(store, store.takeDirty().keys());
  const keys = (units: readonly Unit[]): string[] => units.map(({ key }) => key).sort();
  put("a", 3, 1);
  put("b", 3, 2);
  put("c", 2, 3);
  const first = update();
  expect(keys(first.upserted)).toEqual(
    [0, 1, 2].map((i) => `default/a:p${i}/TCP/4`).concat(["default/c:p0/TCP/4", "default/c:p1/TCP/4"]),
  );
  expect(first.problems.get("default/b")).toEqual([
    {
      kind: "Service",
      key: "default/b",
      field: "spec.ports",
      reason: "no room for its 3 frontends beside those of all other Services: none is served",
      event: "FrontendRefused",
    },
  ]);
  store.service("default/a", null, 2n);
  const second = update();
  expect(keys(second.upserted)).toEqual([0, 1, 2].map((i) => `default/b:p${i}/TCP/4`));
  expect(second.problems.get("default/b")).toEqual([]);
});
