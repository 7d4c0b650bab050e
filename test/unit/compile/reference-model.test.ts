// SPDX-License-Identifier: Apache-2.0
// After any history of manifests the units are those of the reference model, which knows the rules and nothing of the
// compiler: 10,000 random histories in a world so small that everything meets everything.

import { expect, test } from "vitest";
import { Compiler } from "../../../src/compile/compile.ts";
import type { Unit } from "../../../src/compile/unit.ts";
import { type Cidr, parseCidr } from "../../../src/model/address.ts";
import { nodeFacts } from "../../../src/model/node.ts";
import { Store } from "../../../src/model/store.ts";
import { decodeEndpointSlice, decodeNode, decodeService } from "../../../src/source/decode/decode.ts";
import { fc } from "../../support/property.ts";
import {
  type PlainService,
  type PlainSlice,
  referenceLines,
  serviceManifest,
  sliceManifest,
} from "../../support/reference-model.ts";
import { unitLines } from "../../support/scenario.ts";
import { options } from "./objects.ts";

const NODE = "node-a";
const HISTORIES = 10_000;

type Step =
  | { readonly what: "service"; readonly service: PlainService; readonly gone: boolean }
  | { readonly what: "slice"; readonly slice: PlainSlice; readonly gone: boolean }
  | { readonly what: "node"; readonly zone: string; readonly addresses: readonly string[] }
  | { readonly what: "serviceCidrs"; readonly ranges: readonly string[] }
  | { readonly what: "devices"; readonly addresses: readonly string[] }
  | { readonly what: "compile" };

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const rarely = fc.integer({ min: 0, max: 7 }).map((n) => n === 0);
const label = (name: string) => rarely.map((has) => (has ? { [name]: "" } : {}));

const POD_RANGES = ["10.244.0.0/16", "fd00:244::/32"];
/** Some hold the node, some all pods, by themselves or together. */
const RANGES = [
  ...["10.244.0.0/17", "10.244.128.0/17", "10.244.0.0/16", "192.0.2.0/24", " 203.0.113.0/24", "0.0.0.0/0"],
  ...["fd00:244::/33", "fd00:244:8000::/33", "2001:db8::/64", "fd00::/8"],
];

const servicePort = fc.record(
  {
    name: fc.constantFrom("http", "http", "dns"),
    protocol: fc.constantFrom("TCP", "TCP", "UDP"),
    port: fc.constantFrom(80, 81),
    nodePort: fc.constantFrom(30080, 30081),
  },
  { requiredKeys: ["name", "protocol", "port"] },
);
const service: fc.Arbitrary<PlainService> = fc
  .record({
    name: fc.constantFrom("a", "b"),
    labels: label("service.kubernetes.io/service-proxy-name"),
    created: fc.constantFrom("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
    type: fc.constantFrom(
      "ClusterIP",
      "ClusterIP",
      "ClusterIP",
      "NodePort",
      "NodePort",
      "LoadBalancer",
      "ExternalName",
    ),
    clusterIps: fc.oneof(
      { arbitrary: fc.subarray(["10.96.0.1", "10.96.0.2", "fd00:96::1"], { minLength: 1 }), weight: 7 },
      { arbitrary: fc.constant(["None"]), weight: 1 },
    ),
    externalIps: fc.subarray(["198.51.100.1", "10.96.0.2", "2001:db8::1", "127.0.0.1"]),
    ingress: fc.array(
      fc.record(
        { ip: fc.constantFrom("203.0.113.1", "198.51.100.1", "2001:db8::2"), ipMode: fc.constantFrom("VIP", "Proxy") },
        { requiredKeys: [] },
      ),
      { maxLength: 2 },
    ),
    ports: fc.uniqueArray(servicePort, {
      minLength: 1,
      maxLength: 2,
      comparator: (a, b) => a.name === b.name || (a.port === b.port && a.protocol === b.protocol),
    }),
    internalTrafficPolicy: maybe(fc.constantFrom("Cluster", "Local")),
    externalTrafficPolicy: maybe(fc.constantFrom("Cluster", "Local")),
    affinitySec: fc.constantFrom(0, 0, 60),
    sourceRanges: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.subarray(RANGES) }),
  })
  .map(({ internalTrafficPolicy: internal, externalTrafficPolicy: external, ...rest }) => ({
    ...rest,
    ...(internal === undefined ? {} : { internalTrafficPolicy: internal }),
    ...(external === undefined ? {} : { externalTrafficPolicy: external }),
  }));

const endpoint = fc.record(
  {
    nodeName: fc.constantFrom(NODE, "node-b"),
    ready: fc.constantFrom(true, true, true, false),
    serving: fc.boolean(),
    terminating: fc.boolean(),
    forZones: fc.constantFrom(["east"], ["west"], ["east"], ["west"], ["east", "west"], []),
    forNodes: fc.constantFrom([], [], [], [NODE], ["node-b"], [NODE, "node-b"]),
  },
  { requiredKeys: ["forZones", "forNodes"] },
);
/** Nearly always one that is good. */
const addresses = (all: readonly string[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...all.slice(0, 3)).map((address) => [address]) },
    { weight: 1, arbitrary: fc.subarray([...all], { maxLength: 2 }) },
  );
const ADDRESSES = {
  IPv4: ["10.244.0.1", "10.244.0.2", "10.244.1.1", "10.96.0.2", "127.0.0.1"],
  IPv6: ["fd00:244::1", "fd00:244::2", "fd00:244::3", "fd00:96::1", "fe80::1"],
};
const slice: fc.Arbitrary<PlainSlice> = fc
  .constantFrom("IPv4" as const, "IPv4" as const, "IPv6" as const)
  .chain((addressType) =>
    fc.record({
      name: fc.constantFrom("s-1", "s-2", "s-3", "s-4"),
      labels: fc
        .tuple(fc.constantFrom("a", "a", "b"), label("service.kubernetes.io/headless"))
        .map(([owner, headless]) => ({ "kubernetes.io/service-name": owner, ...headless })),
      addressType: fc.constant(addressType),
      ports: fc.array(
        fc.record(
          {
            name: fc.constantFrom("http", "http", "dns"),
            protocol: fc.constantFrom("TCP", "TCP", "UDP"),
            port: fc.constantFrom(8080, 8080, 8081, 0),
          },
          { requiredKeys: ["protocol"] },
        ),
        { minLength: 1, maxLength: 2 },
      ),
      endpoints: fc.array(
        fc.tuple(endpoint, addresses(ADDRESSES[addressType])).map(([rest, chosen]) => ({ ...rest, addresses: chosen })),
        { minLength: 2, maxLength: 5, size: "max" },
      ),
    }),
  );

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ what: fc.constant("service" as const), service, gone: rarely }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant("slice" as const), slice, gone: rarely }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant("node" as const),
      zone: fc.constantFrom("", "east", "east", "west", "west"),
      addresses: fc.constantFrom(["192.0.2.1"], ["2001:db8::1"], ["192.0.2.1", "2001:db8::1"], ["198.51.100.9"]),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant("serviceCidrs" as const),
      ranges: fc.subarray(["10.96.0.0/16", "10.244.1.0/31", "fd00:244::2/127"]),
    }),
  },
  { weight: 1, arbitrary: fc.subarray(["10.96.0.1"]).map((addresses): Step => ({ what: "devices", addresses })) },
  { weight: 4, arbitrary: fc.constant<Step>({ what: "compile" }) },
);

/** Store, compiler and what its deltas leave; beside them the manifests as they are. */
class World {
  readonly #store = new Store();
  readonly #compiler = new Compiler(
    nodeFacts({ nodeName: NODE, bindAddress: "0.0.0.0" }, null),
    options({ clusterCidrs: POD_RANGES.map(cidr) }),
  );
  readonly #affected = new Set<string>();
  readonly #units = new Map<string, Unit>();
  readonly #services = new Map<string, PlainService>();
  readonly #slices = new Map<string, PlainSlice>();
  #zone = "";
  #addresses: readonly string[] = [];
  #serviceRanges: readonly string[] = [];
  #deviceAddresses: readonly string[] = [];

  constructor() {
    this.#store.synced("services");
    this.#store.synced("endpointslices");
  }

  take(item: Step): void {
    if (item.what === "service") this.#takeService(item.service, item.gone);
    else if (item.what === "slice") this.#takeSlice(item.slice, item.gone);
    else if (item.what === "compile") this.compile();
    else if (item.what === "node") this.#takeNode(item.zone, item.addresses);
    else if (item.what === "serviceCidrs") {
      this.#serviceRanges = item.ranges;
      const affected = this.#compiler.setServiceCidrs(item.ranges.map(cidr));
      this.#affect(affected === "all" ? this.#store.serviceKeys() : affected);
    } else {
      this.#deviceAddresses = item.addresses;
      this.#affect(this.#compiler.setDeviceAddresses(new Set(item.addresses)));
    }
  }

  compile(): void {
    const { upserted, removed } = this.#compiler.update(this.#store, [
      ...this.#store.takeDirty().keys(),
      ...this.#affected,
    ]);
    this.#affected.clear();
    for (const key of removed) this.#units.delete(key);
    for (const unit of upserted) this.#units.set(unit.key, unit);
  }

  lines(): string[] {
    return unitLines(this.#units.values());
  }

  /** By the reference model, in this node's zone or another. */
  wanted(zone = this.#zone): string[] {
    return referenceLines({
      node: NODE,
      zone,
      primaryAddresses: this.#addresses,
      podRanges: POD_RANGES,
      serviceRanges: this.#serviceRanges,
      deviceAddresses: this.#deviceAddresses,
      services: [...this.#services.values()],
      slices: [...this.#slices.values()],
    });
  }

  #takeNode(zone: string, addresses: readonly string[]): void {
    this.#zone = zone;
    this.#addresses = addresses;
    const labels = zone === "" ? {} : { "topology.kubernetes.io/zone": zone };
    const status = { addresses: addresses.map((address) => ({ type: "InternalIP", address })) };
    const { object } = decodeNode({ metadata: { name: NODE, labels }, status });
    this.#affect(this.#compiler.setFacts(nodeFacts({ nodeName: NODE, bindAddress: "" }, object)));
  }

  #takeService(object: PlainService, gone: boolean): void {
    if (gone) this.#services.delete(object.name);
    else this.#services.set(object.name, object);
    this.#store.service(`default/${object.name}`, gone ? null : decodeService(serviceManifest(object)).object, 1n);
  }

  #takeSlice(object: PlainSlice, gone: boolean): void {
    if (gone) this.#slices.delete(object.name);
    else this.#slices.set(object.name, object);
    const decoded = gone ? null : decodeEndpointSlice(sliceManifest(object)).object;
    this.#store.endpointSlice(`default/${object.name}`, decoded, 1n);
  }

  #affect(keys: Iterable<string>): void {
    for (const key of keys) this.#affected.add(key);
  }
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
}

test(`${HISTORIES} histories end as the reference model says`, { timeout: 300_000 }, () => {
  const seen = new Set<string>();
  let decidedByZone = 0;

  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 24, size: "max" }), (steps) => {
      const world = new World();
      for (const item of steps) world.take(item);
      world.compile();
      const wanted = world.wanted();
      expect(world.lines()).toEqual(wanted);
      if (JSON.stringify(wanted) !== JSON.stringify(world.wanted(""))) decidedByZone++;

      for (const line of wanted)
        for (const word of line.split(" ").slice(3))
          seen.add(word.replace(/=.*(reject|drop)$/, "=$1").replace(/=([\d[]|host|pods|fd).*/, "=…"));
    }),
    { numRuns: HISTORIES },
  );
  expect(decidedByZone).toBeGreaterThan(HISTORIES / 50);
  // Nothing that a line can say was left out.
  expect([...seen].sort()).toEqual([
    "ClusterIP",
    "ExternalIP",
    "LoadBalancer",
    "NodePort",
    "affinity=…",
    "cluster=reject",
    "cluster=…",
    "draining=…",
    "local=drop",
    "local=reject",
    "local=…",
    "ranges=…",
  ]);
});
