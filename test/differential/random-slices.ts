// SPDX-License-Identifier: Apache-2.0
// EndpointSlices by chance: several for each Service, which mostly agree on what they say of one address, and whose
// endpoints have enough in common for every rule about all of them to be met.

import { Random } from "../support/random.ts";
import type { ApiObject } from "./api-client.ts";
import { hex, NAMESPACE, type Port, serviceName } from "./random-services.ts";

const NODES = ["node-a", "node-b", "node-c"] as const;
export const ZONES = ["east", "west"] as const;

const sliceName = (slot: number, index: number): string => `svc-${slot}-${index}`;

/** What all slices of one Service say of one address, unless chance has it otherwise. */
interface Character {
  readonly nodeName: string | null;
  readonly conditions: object;
  readonly hints: object | null;
}

/** How the endpoints of a Service are: with what is common to them, sets of every kind become likely. */
export interface Temper {
  readonly hints: "none" | "zones" | "nodes" | "both" | "some";
  readonly mostly: "ready" | "terminating" | "failing" | "anything";
  readonly seed: number;
}

export function randomTemper(random: Random): Temper {
  return {
    hints: random.pick(["none", "none", "zones", "zones", "nodes", "both", "some"]),
    mostly: random.pick(["ready", "ready", "ready", "ready", "terminating", "failing", "anything", "anything"]),
    seed: random.below(2 ** 31),
  };
}

const yesNoNil = (random: Random, name: string): object => random.maybe(0.6, name, () => random.chance(0.5));

function conditionsOf(random: Random, mostly: Temper["mostly"]): object {
  if (mostly === "anything" || random.chance(0.15))
    return { ...yesNoNil(random, "ready"), ...yesNoNil(random, "serving"), ...yesNoNil(random, "terminating") };
  if (mostly === "ready") return random.pick([{ ready: true }, { ready: true, serving: true, terminating: false }, {}]);
  if (mostly === "terminating") return { ready: false, serving: random.chance(0.8), terminating: true };
  return { ready: false, serving: random.chance(0.3), terminating: false };
}

function hintsOf(random: Random, kind: Temper["hints"]): object | null {
  if (kind === "none" || (kind === "some" && random.chance(0.4))) return null;
  const names = (list: readonly string[]): object[] => random.some(list, 1 + random.below(2)).map((name) => ({ name }));
  const hasZones = kind !== "nodes" || random.chance(0.2);
  const hasNodes = kind === "nodes" || kind === "both" || (kind === "some" && random.chance(0.3));
  return {
    ...(hasZones ? { forZones: names(random.chance(0.1) ? ["north", ...ZONES] : ZONES) } : {}),
    ...(hasNodes ? { forNodes: names(NODES) } : {}),
  };
}

function characterOf(random: Random, temper: Temper): Character {
  const nodeName = random.chance(0.1) ? null : random.pick(random.chance(0.3) ? NODES : NODES.slice(1));
  return { nodeName, conditions: conditionsOf(random, temper.mostly), hints: hintsOf(random, temper.hints) };
}

export interface SliceSeat {
  readonly slot: number;
  readonly index: number;
  readonly temper: Temper;
}

/** A slice of a Service, for these of its ports. */
export function randomSlice(random: Random, { slot, index, temper }: SliceSeat, service: ApiObject): ApiObject {
  const family = random.pick(["IPv4", "IPv4", "IPv6"] as const);
  const length = random.chance(0.03) ? 40 + random.below(60) : random.pick([0, 1, 2, 3, 4, 6]);
  const labels = {
    "kubernetes.io/service-name": serviceName(slot),
    ...random.maybe(0.02, "service.kubernetes.io/headless", () => ""),
  };
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: sliceName(slot, index), namespace: NAMESPACE, labels },
    addressType: family,
    ports: random.chance(0.05) ? null : slicePorts(random, service),
    endpoints: Array.from({ length }, () => endpoint(random, { slot, hosts: length + 3, family, temper })),
  } as ApiObject;
}

function slicePorts(
  random: Random,
  { spec }: ApiObject & { readonly spec?: { readonly ports?: readonly Port[] } },
): object[] {
  const of = ({ name, protocol }: Port): object => ({
    ...(name === "" && random.chance(0.3) ? {} : { name }),
    protocol: random.chance(0.95) ? protocol : random.pick(["TCP", "UDP"]),
    port: random.chance(0.95) ? random.pick([8_080, 8_080, 8_081]) : null,
  });
  const ports = (spec?.ports ?? []).filter(() => random.chance(0.9)).map(of);
  return random.chance(0.05) ? [...ports, { name: "other", port: 9_090 }] : ports;
}

/** What an API server lets in and no pod can have. */
const STRANGE = { IPv4: ["240.0.0.1", "224.0.1.9", "10.97.255.7", "0.1.2.3"], IPv6: ["fd00:96::fff", "ff0e::9"] };

interface EndpointSeat {
  readonly slot: number;
  /** Addresses to choose from: few, so that slices overlap. */
  readonly hosts: number;
  readonly family: "IPv4" | "IPv6";
  readonly temper: Temper;
}

function endpoint(random: Random, { slot, hosts, family, temper }: EndpointSeat): object {
  const host = 1 + random.below(hosts);
  const v6 = family === "IPv6";
  const own = v6 ? `fd00:10:244:2:${hex(slot)}::${host}` : `10.244.${2 + slot}.${host}`;
  const address = random.chance(0.004) ? random.pick(STRANGE[family]) : own;
  const spare = random.chance(0.1) ? [v6 ? "fd00:10:244:9::9" : "10.244.99.99"] : [];
  const { nodeName, conditions, hints } = characterOf(random.chance(0.97) ? fixed(temper, v6, host) : random, temper);
  return {
    addresses: [address, ...spare],
    ...(nodeName === null ? {} : { nodeName }),
    conditions,
    ...(hints === null ? {} : { hints }),
  };
}

/** The same chance for the same address. */
const fixed = ({ seed }: Temper, v6: boolean, host: number): Random =>
  new Random(seed ^ ((host * 2 + Number(v6)) * 0x9e3779b1));
