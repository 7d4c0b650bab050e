// SPDX-License-Identifier: Apache-2.0
// An agent's stages down to its units, with a scenario in the place of its source: what the steps say becomes events, the
// events become units.

import { Compiler } from "../../src/compile/compile.ts";
import type { UnitDelta } from "../../src/compile/unit.ts";
import { type Cidr, parseCidr } from "../../src/model/address.ts";
import { nodeFacts } from "../../src/model/node.ts";
import { Store } from "../../src/model/store.ts";
import type { EndpointSlice, Node, Problem, Service, ServiceKey } from "../../src/model/types.ts";
import { decodeEndpointSlice, decodeNode, decodeService, decodeServiceCidr } from "../../src/source/decode/decode.ts";
import { ServiceCidrs } from "../../src/source/node-watch.ts";
import type { Manifest, ObjectReference, Scenario, ScenarioStep } from "./scenario.ts";

interface Kinds {
  readonly Service: Service;
  readonly EndpointSlice: EndpointSlice;
  readonly Node: Node;
  readonly ServiceCIDR: readonly string[];
}

/** What a step says to a sink, one object an event; null: deleted. `problems` are decode's. */
export type ScenarioEvent = {
  [K in keyof Kinds]: {
    readonly kind: K;
    readonly key: string;
    readonly object: Kinds[K] | null;
    readonly problems: readonly Problem[];
  };
}[keyof Kinds];

export const EVENT_ORDERS = ["Services first", "EndpointSlices first"] as const;
export type EventOrder = (typeof EVENT_ORDERS)[number];
const KINDS = ["Service", "EndpointSlice", "Node", "ServiceCIDR"] as const;

/** The step's events; all of one kind come before all of the next, deletions before what is applied. */
export function eventsOf(scenario: Scenario, step: ScenarioStep, order: EventOrder): ScenarioEvent[] {
  const applied = step.apply.map((manifest) => decodeManifest(manifest, scenario.settings.serviceProxyName));
  const events = [...step.delete.map(deletion), ...applied];
  const kinds = order === "Services first" ? KINDS : KINDS.toReversed();
  return kinds.flatMap((kind) => events.filter((event) => event.kind === kind));
}

function deletion({ kind, key }: ObjectReference): ScenarioEvent {
  return { kind, key, object: null, problems: [] };
}

function decodeManifest(manifest: Manifest, proxyName: string | null): ScenarioEvent {
  const { kind, metadata } = manifest;
  const key = metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  switch (kind) {
    case "Service":
      return { ...decodeService(manifest, proxyName), kind, key };
    case "EndpointSlice":
      return { ...decodeEndpointSlice(manifest), kind, key };
    case "Node":
      return { ...decodeNode(manifest), kind, key };
    case "ServiceCIDR":
      return { ...decodeServiceCidr(manifest), kind, key };
  }
}

export class ScenarioNode {
  readonly store = new Store();
  readonly #scenario: Scenario;
  readonly #cidrs = new ServiceCidrs((cidrs) => this.#setServiceCidrs(cidrs));
  readonly #affected = new Set<ServiceKey>();
  #deviceAddresses: readonly string[];
  #node: Node | null = null;
  #serviceCidrs: readonly Cidr[] = [];
  #compiler: Compiler;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#deviceAddresses = scenario.deviceAddresses;
    this.store.synced("services");
    this.store.synced("endpointslices");
    this.#compiler = this.#newCompiler();
    this.#cidrs.synced();
  }

  deliver(event: ScenarioEvent): void {
    if (event.kind === "Service") this.store.service(event.key, event.object, 1n);
    else if (event.kind === "EndpointSlice") this.store.endpointSlice(event.key, event.object, 1n);
    else if (event.kind === "ServiceCIDR") this.#cidrs.set(event.key, event.object);
    else if (event.key === this.#scenario.node && event.object !== null) {
      this.#node = event.object;
      this.#affect(this.#compiler.setFacts(this.#facts()));
    }
  }

  setDeviceAddresses(addresses: readonly string[]): void {
    this.#deviceAddresses = addresses;
    this.#affect(this.#compiler.setDeviceAddresses(new Set(addresses)));
  }

  /** What changed since the last time. */
  compile(): UnitDelta {
    const delta = this.#compiler.update(this.store, [...this.store.takeDirty().keys(), ...this.#affected]);
    this.#affected.clear();
    return delta;
  }

  compileAll(): UnitDelta {
    return this.#compiler.update(this.store, "all");
  }

  /** What a compiler makes of everything that sees it for the first time; from now on it is the one. */
  compileFromNothing(): UnitDelta {
    this.#compiler = this.#newCompiler();
    this.#affected.clear();
    return this.compileAll();
  }

  #newCompiler(): Compiler {
    const { settings } = this.#scenario;
    return new Compiler(this.#facts(), {
      allowServiceExternalIps: settings.allowServiceExternalIps,
      externalIpsAllowed: settings.externalIpsAllowed?.map(cidr) ?? null,
      clusterCidrs: settings.clusterCidrs.map(cidr),
      deviceAddresses: new Set(this.#deviceAddresses),
      serviceCidrs: this.#serviceCidrs,
      mostFrontends: 1_000_000,
    });
  }

  #facts() {
    return nodeFacts({ nodeName: this.#scenario.node, bindAddress: "0.0.0.0" }, this.#node);
  }

  #setServiceCidrs(cidrs: readonly string[]): void {
    this.#serviceCidrs = cidrs.map(cidr);
    this.#affect(this.#compiler.setServiceCidrs(this.#serviceCidrs));
  }

  #affect(services: ReadonlySet<ServiceKey> | "all"): void {
    for (const key of services === "all" ? this.store.serviceKeys() : services) this.#affected.add(key);
  }
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
}
