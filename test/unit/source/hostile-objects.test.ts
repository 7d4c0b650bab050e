// SPDX-License-Identifier: Apache-2.0
// 100,000 mutated Services and EndpointSlices through every stage down to the maps: nothing throws, no other Service is
// touched for a moment, and whatever is not accepted is named with its field.

import { inspect } from "node:util";
import { expect, test } from "vitest";
import { Compiler } from "../../../src/compile/compile.ts";
import { nodeFacts } from "../../../src/model/node.ts";
import { Store } from "../../../src/model/store.ts";
import type { Problem } from "../../../src/model/types.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { decodeEndpointSlice, decodeService } from "../../../src/source/decode/decode.ts";
import { isObject, type JsonObject, member, objectMember } from "../../../src/source/decode/field.ts";
import { options as programmerOptions } from "../../support/fresh-maps.ts";
import { mapLines } from "../../support/map-lines.ts";
import { emptyMemory, MemoryMaps } from "../../support/memory-maps.ts";
import { mutated, objectEdits } from "../../support/mutation.ts";
import { fc } from "../../support/property.ts";
import { options } from "../compile/objects.ts";

const WORLDS = 2_000;
const OBJECTS_EACH = 50;

const service = (namespace: string, name: string, created: string, spec: object): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace, uid: `${namespace}-${name}`, creationTimestamp: created, labels: { app: name } },
  spec,
  status: { loadBalancer: { ingress: [{ ip: "203.0.113.1", ipMode: "VIP" }, { hostname: "lb" }] } },
});

const slice = (namespace: string, name: string, addresses: readonly string[]): object => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: `${name}-1`, namespace, labels: { "kubernetes.io/service-name": name } },
  addressType: "IPv4",
  ports: [{ name: "http", protocol: "TCP", port: 8080 }],
  endpoints: addresses.map((address) => ({
    addresses: [address],
    nodeName: "node-a",
    conditions: { ready: true, serving: true, terminating: false },
    hints: { forZones: [{ name: "east" }], forNodes: [{ name: "node-a" }] },
  })),
});

const OLD = "2020-01-01T00:00:00Z";
const YOUNG = "2026-01-01T00:00:00Z";
const port = { name: "http", protocol: "TCP", port: 80, nodePort: 30080 };

/** Who must not be touched, and who wants all that they have. */
const BYSTANDERS = [
  service("shop", "web", OLD, {
    type: "LoadBalancer",
    clusterIP: "10.96.0.1",
    clusterIPs: ["10.96.0.1", "fd00:96::1"],
    externalIPs: ["198.51.100.1"],
    externalTrafficPolicy: "Local",
    loadBalancerSourceRanges: ["192.0.2.0/24"],
    ports: [port],
  }),
  service("shop", "dns", OLD, {
    type: "ClusterIP",
    clusterIP: "10.96.0.2",
    internalTrafficPolicy: "Local",
    sessionAffinity: "ClientIP",
    ports: [{ ...port, nodePort: 0, port: 53, protocol: "UDP" }],
  }),
];
const ATTACKER = service("evil", "web", YOUNG, {
  type: "LoadBalancer",
  clusterIP: "10.96.9.1",
  clusterIPs: ["10.96.9.1", "fd00:96::9"],
  externalIPs: ["198.51.100.1", "10.96.0.1", "10.96.0.2"],
  internalTrafficPolicy: "Cluster",
  externalTrafficPolicy: "Local",
  loadBalancerSourceRanges: ["10.0.0.0/8"],
  healthCheckNodePort: 31000,
  sessionAffinity: "ClientIP",
  sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  ports: [port, { ...port, name: "dns", protocol: "UDP", port: 53, nodePort: 30053 }],
});
const ATTACKING_SLICE = slice("evil", "web", ["10.244.66.1", "10.244.66.2", "10.244.9.1"]);

/** Every stage of an agent, on maps in memory. */
class World {
  readonly port = new MemoryMaps(emptyMemory());
  readonly #store = new Store();
  readonly #compiler = new Compiler(nodeFacts({ nodeName: "node-a", bindAddress: "0.0.0.0" }, null), options());
  readonly problems: Problem[] = [];
  #programmer!: Programmer;

  async start(): Promise<void> {
    this.#programmer = await Programmer.start(this.port, programmerOptions);
    this.#programmer.allowDeletes();
    this.#store.synced("services");
    this.#store.synced("endpointslices");
    for (const object of BYSTANDERS) this.putService(object);
    this.putSlice(slice("shop", "web", ["10.244.9.1", "10.244.9.2"]));
    this.putSlice(slice("shop", "dns", ["10.244.9.3"]));
    await this.#programmer.settled();
  }

  putService(object: unknown): void {
    const { key, object: decoded, problems } = decodeService(object);
    if (key !== null && (decoded !== null || problems.length === 0)) this.#store.service(key, decoded, 1n);
    if (decoded === null && problems.length === 0)
      expect(isOthersService(object), inspect(object, { depth: 8 })).toBe(true);
    this.#compile(problems);
  }

  putSlice(object: unknown): void {
    const { key, object: decoded, problems } = decodeEndpointSlice(object);
    if (key !== null && (decoded !== null || problems.length === 0)) this.#store.endpointSlice(key, decoded, 1n);
    if (decoded === null && problems.length === 0)
      expect(isNobodysSlice(object), inspect(object, { depth: 8 })).toBe(true);
    this.#compile(problems);
  }

  settled(): Promise<void> {
    return this.#programmer.settled();
  }

  /** What the bystanders serve. */
  lines(): string[] {
    return mapLines(this.port).filter((line) => line.startsWith("shop/"));
  }

  #compile(problems: readonly Problem[]): void {
    const delta = this.#compiler.update(this.#store, this.#store.takeDirty().keys());
    this.#programmer.apply(delta);
    this.problems.push(...problems, ...[...delta.problems.values()].flat());
  }
}

/** What a proxy leaves alone without a word. */
function isNobodysSlice(object: unknown): boolean {
  const labels = labelsOf(object);
  const owner = member(labels, "kubernetes.io/service-name") ?? "";
  return owner === "" || Object.hasOwn(labels, "service.kubernetes.io/headless") || addressTypeOf(object) === "FQDN";
}

function isOthersService(object: unknown): boolean {
  const spec = isObject(object) ? objectMember(object, "spec") : undefined;
  return Object.hasOwn(labelsOf(object), "service.kubernetes.io/service-proxy-name") || isHeadless(spec ?? {});
}

const labelsOf = (object: unknown): JsonObject =>
  (isObject(object) && objectMember(objectMember(object, "metadata") ?? {}, "labels")) || {};
const addressTypeOf = (object: unknown): unknown => (isObject(object) ? member(object, "addressType") : undefined);

function isHeadless(spec: JsonObject): boolean {
  const list = member(spec, "clusterIPs");
  const first: unknown = Array.isArray(list) ? list[0] : undefined;
  return member(spec, "type") === "ExternalName" || member(spec, "clusterIP") === "None" || first === "None";
}

const FIELD = /^(metadata|spec|status|addressType|endpoints|ports)\b/;

test(`${WORLDS * OBJECTS_EACH} mutated objects touch nobody else`, { timeout: 300_000 }, async () => {
  const attack = fc.tuple(objectEdits, objectEdits);
  let rejections = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(attack, { minLength: OBJECTS_EACH / 2, maxLength: OBJECTS_EACH / 2 }),
      async (attacks) => {
        const world = new World();
        await world.start();
        expect(world.problems).toEqual([]);
        const before = world.lines();
        expect(before.length).toBe(8);
        for (const [serviceEdits, sliceEdits] of attacks) {
          world.putService(mutated(ATTACKER, serviceEdits));
          expect(world.lines()).toEqual(before);
          world.putSlice(mutated(ATTACKING_SLICE, sliceEdits));
          expect(world.lines()).toEqual(before);
        }
        await world.settled();
        expect(world.lines()).toEqual(before);
        for (const problem of world.problems) if (!FIELD.test(problem.field)) expect(problem).toMatchObject(UNNAMED);
        rejections += world.problems.length;
      },
    ),
    { numRuns: WORLDS, seed: 20_260_101 },
  );
  expect(rejections).toBeGreaterThan(WORLDS * OBJECTS_EACH);
});

/** The whole object is none, or there is too much to name. */
const UNNAMED = {
  field: "",
  reason: expect.stringMatching(/^(must be an object|and \d+ more problems$|cannot be decoded)/),
};
