// SPDX-License-Identifier: Apache-2.0
// Why a decision may be another than kube-proxy's in a random world: the rows of docs/differences.md that can be met
// there, each with the objects that bring it about. What is none of these is a bug.

import { parseFrontendLine } from "../support/frontend-line.ts";
import { addressInRange } from "../support/plain-ranges.ts";
import {
  isOurs,
  type PlainEndpoint,
  type PlainService,
  type PlainSlice,
  type PlainWorld,
} from "../support/reference-model.ts";
import { place } from "../support/scenario.ts";
import { NODE_ADDRESSES, SECOND_ADDRESSES } from "../support/world-network.ts";
import type { Call, Decision } from "./decision.ts";

export const REASONS = {
  contested: "two Services that claim one address and port",
  unused: "an unused address of a ServiceCIDR",
  roles: "a Service that has its own ClusterIP as external address too",
  unserved: "other ports of a ClusterIP of which no port is served: SCTP alone, or taken by older Services",
  slices: "an endpoint of which two slices say different things",
  hygiene:
    "endpoints in 0/8, 127/8, 169.254/16, 224/4, 240/4, ::, ::1, fe80::/10, ff00::/8, IPv4-mapped ones, and Service addresses as endpoints",
  ingress:
    "load balancer addresses in 0/8, 127/8, 169.254/16, 224/4, ::, ::1, fe80::/10, ff00::/8, and IPv4-mapped ones",
} as const;
export type Reason = keyof typeof REASONS;

const ON_THE_NODE = [...NODE_ADDRESSES, ...SECOND_ADDRESSES];
const SPECIAL = /^(0|127|169\.254|22[4-9]|23\d)\.|^(::1?$|fe80:|ff)/;
const RESERVED = /^2[45]\d\./;
const labelOf = ({ labels }: PlainSlice): string => labels["kubernetes.io/service-name"] ?? "";

export class RandomDifferences {
  readonly #claimants: ReadonlyMap<string, ReadonlySet<PlainService>>;
  readonly #world: PlainWorld;
  /** ClusterIPs with a port that is served. */
  readonly #served: ReadonlySet<string>;
  readonly #odd = new Map<string, Reason>();

  /** `lines` are what the reference model says of the world. */
  constructor(world: PlainWorld, lines: readonly string[]) {
    this.#world = world;
    this.#served = new Set(lines.filter((line) => line.includes(" ClusterIP ")).map(addressOf));
    const pairs = world.services.flatMap((service) => claimsOf(service).map((claim) => [claim, service] as const));
    const groups = Map.groupBy(pairs, ([claim]) => claim);
    this.#claimants = new Map([...groups].map(([claim, list]) => [claim, new Set(list.map(([, service]) => service))]));
    for (const [service, slices] of Map.groupBy(world.slices, labelOf)) {
      if (sayDifferentThings(slices)) this.#odd.set(service, "slices");
      if (slices.some((slice) => slice.endpoints.some((endpoint) => isRefused(endpoint, world)))) {
        this.#odd.set(service, "hygiene");
      }
    }
  }

  /** Null: nothing allows it. */
  explain(call: Call, ours: Decision, theirs: Decision): Reason | null {
    const claimants = [...(this.#claimants.get(claimOf(call.protocol, call.address, call.port)) ?? [])];
    if (claimants.length > 1) return "contested";
    if (theirs.answer === "drop" && ours.answer === "nothing" && this.#isUnused(call.address)) return "unused";
    if (theirs.answer === "reject" && ours.answer === "nothing" && this.#isUnserved(call.address)) return "unserved";
    if (SPECIAL.test(call.address) && ours.answer === "nothing") return "ingress";
    const [service] = claimants;
    if (service === undefined || theirs.answer === "nothing" || ours.answer === "nothing") return null;
    if (hasTwoRoles(service, call.address)) return "roles";
    return this.#odd.get(service.name) ?? null;
  }

  #isUnserved(address: string): boolean {
    return !this.#served.has(address) && this.#world.services.some(({ clusterIps }) => clusterIps.includes(address));
  }

  #isUnused(address: string): boolean {
    const { services, serviceRanges } = this.#world;
    if (!serviceRanges.some((range) => addressInRange(address, range))) return false;
    return !services.filter(isOurs).some(({ clusterIps }) => clusterIps.includes(address));
  }
}

const addressOf = (line: string): string => parseFrontendLine(line).address;
const claimOf = (protocol: string, address: string, port: number): string => `${protocol} ${place(address, port)}`;

/** Every address and port that the Service may be called by, NodePorts on each address of the node. */
function claimsOf({ clusterIps, externalIps, ingress, ports }: PlainService): string[] {
  const addresses = [...clusterIps, ...externalIps, ...ingress.flatMap(({ ip }) => (ip === undefined ? [] : [ip]))];
  return ports.flatMap(({ protocol, port, nodePort }) => [
    ...addresses.map((address) => claimOf(protocol, address, port)),
    ...(nodePort === undefined ? [] : ON_THE_NODE.map((address) => claimOf(protocol, address, nodePort))),
  ]);
}

function hasTwoRoles({ clusterIps, externalIps, ingress }: PlainService, address: string): boolean {
  return clusterIps.includes(address) && (externalIps.includes(address) || ingress.some(({ ip }) => ip === address));
}

function isRefused({ addresses: [address = ""] }: PlainEndpoint, { services, serviceRanges }: PlainWorld): boolean {
  return (
    SPECIAL.test(address) ||
    RESERVED.test(address) ||
    serviceRanges.some((range) => addressInRange(address, range)) ||
    services.some(({ clusterIps }) => clusterIps.includes(address))
  );
}

/** Of one address, of which one that stays comes before one that terminates: of two equals kube-proxy takes either. */
function sayDifferentThings(slices: readonly PlainSlice[]): boolean {
  const entries = slices.flatMap(({ endpoints }) => endpoints.filter(({ addresses }) => addresses.length > 0));
  const said = Map.groupBy(entries, ({ addresses }) => addresses[0]);
  return [...said.values()].some((same) => {
    const staying = same.filter(({ terminating }) => terminating !== true);
    const equals = staying.length > 0 ? staying : same;
    return new Set(equals.map(({ addresses: _, ...rest }) => JSON.stringify(rest))).size > 1;
  });
}
