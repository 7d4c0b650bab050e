// SPDX-License-Identifier: Apache-2.0
// Objects + node facts + options → the units this node should have. compileService is pure; Compiler remembers what it
// made of every Service, so that a change costs the Services it touches and nobody else. No I/O, no clock, no ids.

import { type Cidr, formatCidr } from "../model/address.ts";
import { sameItems } from "../model/equal.ts";
import { type Few, fewOf, listOf } from "../model/few.ts";
import type { StoreView } from "../model/store.ts";
import type { EndpointSlice, Family, NodeFacts, Problem, Service, ServiceKey } from "../model/types.ts";
import { Claims } from "./conflicts.ts";
import { Dependents } from "./dependents.ts";
import { type EndpointSets, selectEndpoints } from "./endpoints.ts";
import { type Candidate, type CompileOptions, type Offer, offerFrontends, type PortOffer } from "./frontends.ts";
import { type AcceptedSlice, acceptEndpoints, type ServiceNetworks } from "./hygiene.ts";
import { type MovedAddresses, ServiceAddresses } from "./service-addresses.ts";
import { unitRanges } from "./source-ranges.ts";
import { type Frontend, type Unit, type UnitDelta, type UnitRanges, unitKey, unitName } from "./unit.ts";

export type { CompileOptions } from "./frontends.ts";

/** What a Service's units depend on besides its own objects. */
export interface CompileContext {
  /** The Service's: the very string that others have of it. */
  readonly key: ServiceKey;
  readonly facts: NodeFacts;
  readonly options: CompileOptions;
  /** The Service that holds a claim (Candidate.claim). */
  readonly winner: (claim: string) => ServiceKey | undefined;
  /** Whether some Service has the ClusterIP at bytes[offset]. */
  readonly isClusterIp: ServiceNetworks["isClusterIp"];
  /** The Service's, if it is at hand. */
  readonly offer: Offer | undefined;
}

export interface CompiledService {
  readonly units: readonly Unit[];
  readonly problems: readonly Problem[];
}

/** What comes of looking at what a Service claims. */
interface Effects {
  /** Others for which that has changed something. */
  readonly affected: Set<ServiceKey>;
  readonly moved: MovedAddresses;
  /** Short ones, for the compilation that follows: of long ones, few would fit into memory at once. */
  readonly offers: Map<ServiceKey, Offer>;
}

/** Of one Service. */
const MOST_PROBLEMS = 64;
/** An offer that is kept for a moment. */
const SHORT_OFFER = 64;

/** Pure. The slices are the Service's own, in any order. A port left without any frontend has no unit. */
function compileService(service: Service, slices: readonly EndpointSlice[], context: CompileContext): CompiledService {
  const { key, options, facts, isClusterIp } = context;
  const offer = context.offer ?? offerFrontends(service, options, facts);
  const problems = [...offer.problems];
  const units: Unit[] = [];
  const networks = { isClusterIp, serviceCidrs: options.serviceCidrs };
  const rangesIn = rangesByFamily(service, context);
  let accepted: readonly AcceptedSlice[] | undefined;
  for (const port of offer.ports) {
    const frontends = wonFrontends(key, port, context, problems);
    if (frontends.length === 0) continue;
    accepted ??= slices
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map((slice) => acceptEndpoints(slice, networks, problems));
    const ranged = frontends.some(({ role }) => role === "loadBalancer");
    const sourceRanges = ranged ? rangesIn(port.family) : null;
    units.push(
      unitOf({ key, service, port, frontends, sourceRanges }, (needsLocal) =>
        selectEndpoints(accepted ?? [], {
          portName: port.port.name,
          protocol: port.port.protocol,
          family: port.family,
          nodeName: facts.nodeName,
          zone: facts.zone,
          needsLocal,
        }),
      ),
    );
  }
  return { units, problems: summedUp(key, problems) };
}

/** The ranges of a family are those of all of its ports. */
function rangesByFamily(service: Service, { facts, options }: CompileContext): (family: Family) => UnitRanges | null {
  const known = new Map<Family, UnitRanges | null>();
  return (family) => {
    const ranges = known.get(family);
    if (ranges !== undefined) return ranges;
    const made = unitRanges(service, family, { facts, clusterCidrs: options.clusterCidrs });
    known.set(family, made);
    return made;
  };
}

/** So many are named: what somebody does wrong ten thousand times must not flood the log. */
function summedUp(key: ServiceKey, problems: readonly Problem[]): readonly Problem[] {
  const unnamed = problems.length - MOST_PROBLEMS;
  if (unnamed <= 0) return problems;
  const more: Problem = { kind: "Service", key, field: "", reason: `and ${unnamed} more problems` };
  return [...problems.slice(0, MOST_PROBLEMS), more];
}

type Served = Candidate & { readonly frontend: Frontend };

function wonFrontends(key: ServiceKey, port: PortOffer, context: CompileContext, problems: Problem[]): Frontend[] {
  const won = port.candidates.filter((candidate): candidate is Served => {
    const { frontend, claim, field } = candidate;
    const winner = context.winner(claim);
    if (winner === key) return frontend !== null;
    problems.push({ kind: "Service", key, field, reason: `${claim} belongs to ${winner}`, event: "FrontendConflict" });
    return false;
  });
  // map() makes an array of its exact length; one that grew by push keeps room for 16 more, in every unit.
  return won.map(({ frontend }) => frontend);
}

interface UnitParts {
  readonly key: ServiceKey;
  readonly service: Service;
  readonly port: PortOffer;
  readonly frontends: readonly Frontend[];
  readonly sourceRanges: UnitRanges | null;
}

function unitOf(parts: UnitParts, select: (needsLocal: boolean) => EndpointSets): Unit {
  const { key, service, frontends, sourceRanges } = parts;
  const { port, family } = parts.port;
  const name = unitName(key, port.name);
  const needsLocal = frontends.some((frontend) => frontend.internalLocal || frontend.externalLocal);
  const { endpoints, clusterEmpty } = select(needsLocal);
  return {
    key: unitKey(name, port.protocol, family),
    service: key,
    name,
    family,
    protocol: port.protocol,
    frontends,
    endpoints,
    emptyLocal: needsLocal && !clusterEmpty ? "drop" : "reject",
    affinitySec: service.affinitySec,
    sourceRanges,
  };
}

export class Compiler {
  #facts: NodeFacts;
  #options: CompileOptions;
  readonly #claims: Claims;
  readonly #addresses = new ServiceAddresses();
  readonly #dependents = new Dependents();
  readonly #units = new Map<ServiceKey, Few<Unit>>();

  constructor(facts: NodeFacts, options: CompileOptions) {
    this.#facts = facts;
    this.#options = options;
    this.#claims = new Claims(options.mostFrontends);
  }

  /**
   * Compiles the Services named ("all": every one there is) and those that a change of theirs affects: claimants of
   * the same frontend, Services with an endpoint that became or was a ClusterIP. A named Service that is not in
   * the view is gone. Units that come out as they were are not in the delta.
   */
  update(view: StoreView, dirty: Iterable<ServiceKey> | "all"): UnitDelta {
    const keys = new Set(dirty === "all" ? [...view.serviceKeys(), ...this.#units.keys()] : dirty);
    const affected = new Set<ServiceKey>();
    const moved: MovedAddresses = new Map();
    const offers = new Map<ServiceKey, Offer>();
    for (const key of keys) this.#register(key, view, { affected, moved, offers });
    for (const key of this.#claims.fitting()) {
      this.#register(key, view, { affected, moved, offers });
      keys.add(key);
    }
    this.#addresses.addServicesWith(moved, (key) => view.slicesOf(key), affected);
    for (const key of affected) keys.add(key);
    const upserted: Unit[] = [];
    const removed: string[] = [];
    const problems = new Map<ServiceKey, readonly Problem[]>();
    for (const key of keys) {
      const before = listOf(this.#units.get(key));
      const compiled = this.#compile(key, view, offers.get(key));
      const held = new Map(before.map((unit) => [unit.key, unit]));
      const after = compiled.units.map((unit) => unchanged(held.get(unit.key), unit) ?? unit);
      if (after.length === 0) this.#units.delete(key);
      else this.#units.set(key, fewOf(after));
      for (const unit of after) if (held.get(unit.key) !== unit) upserted.push(unit);
      for (const unit of after) held.delete(unit.key);
      removed.push(...held.keys());
      problems.set(key, compiled.problems);
    }
    return { upserted, removed, problems };
  }

  /** Replaces options.deviceAddresses and returns the Services that have to be compiled again for it. */
  setDeviceAddresses(deviceAddresses: ReadonlySet<string>): Set<ServiceKey> {
    const before = this.#options.deviceAddresses;
    const changed = [...before, ...deviceAddresses].filter(
      (address) => before.has(address) !== deviceAddresses.has(address),
    );
    this.#options = { ...this.#options, deviceAddresses };
    const owners = changed.flatMap((address) => this.#addresses.ownersOf(address));
    return new Set(changed.length > 0 ? [...owners, ...this.#confined()] : owners);
  }

  /** Replaces options.serviceCidrs; "all" Services have to be compiled again if that is another list. */
  setServiceCidrs(serviceCidrs: readonly Cidr[]): ReadonlySet<ServiceKey> | "all" {
    const changed = !sameItems(this.#options.serviceCidrs, serviceCidrs, (a, b) => formatCidr(a) === formatCidr(b));
    this.#options = { ...this.#options, serviceCidrs };
    return changed ? "all" : new Set();
  }

  /** Replaces the facts, nodeName excepted, and returns the Services that have to be compiled again for them. */
  setFacts(facts: NodeFacts): ReadonlySet<ServiceKey> {
    const before = this.#facts;
    this.#facts = { ...facts, nodeName: before.nodeName };
    const affected: ServiceKey[] = [];
    if (before.zone !== facts.zone) affected.push(...this.#dependents.of("zone"));
    const moved = !(
      sameItems(before.primaryAddresses, facts.primaryAddresses) && sameItems(before.podCidrs, facts.podCidrs)
    );
    if (moved) affected.push(...this.#dependents.of("sourceRanges"), ...this.#confined());
    return new Set(affected);
  }

  /** The Services whose external addresses are judged by an allow-list. */
  #confined(): Iterable<ServiceKey> {
    return this.#options.externalIpsAllowed === null ? [] : this.#dependents.of("externalIps");
  }

  /** Every unit as last compiled. */
  *units(): Iterable<Unit> {
    for (const units of this.#units.values()) yield* listOf(units);
  }

  /** Makes known what the Service takes from others: its claims and its ClusterIPs. */
  #register(key: ServiceKey, view: StoreView, { affected, moved, offers }: Effects): void {
    const service = view.getService(key);
    const offer = service === undefined ? undefined : offerFrontends(service, this.#options, this.#facts);
    const claims = offer?.ports.flatMap((port) => port.candidates).map((candidate) => candidate.claim) ?? [];
    if (offer !== undefined && claims.length <= SHORT_OFFER) offers.set(key, offer);
    this.#claims.set({ key, createdMs: service?.createdMs ?? 0, claims }, affected);
    this.#addresses.setClusterIps(key, service?.clusterIps ?? [], moved);
  }

  #compile(key: ServiceKey, view: StoreView, offer: Offer | undefined): CompiledService {
    const service = view.getService(key);
    const slices = service === undefined ? [] : view.slicesOf(key);
    this.#addresses.setEndpoints(key, slices);
    this.#dependents.set(key, service, slices);
    if (service === undefined) return NOTHING;
    const missing = this.#claims.missing(key);
    return missing > 0 ? noRoom(key, missing) : compileService(service, slices, this.#context(key, offer));
  }

  #context(key: ServiceKey, offer: Offer | undefined): CompileContext {
    return {
      key,
      offer,
      facts: this.#facts,
      options: this.#options,
      winner: (claim) => this.#claims.winner(claim),
      isClusterIp: (bytes, offset) => this.#addresses.isClusterIp(bytes, offset),
    };
  }
}

const NOTHING: CompiledService = { units: [], problems: [] };

function noRoom(key: ServiceKey, frontends: number): CompiledService {
  const reason = `no room for its ${frontends} frontends beside those of all other Services: none is served`;
  return { units: [], problems: [{ kind: "Service", key, field: "spec.ports", reason, event: "FrontendRefused" }] };
}

/** The unit as it was, if it comes out so again. */
const unchanged = (old: Unit | undefined, unit: Unit): Unit | null =>
  old !== undefined && sameUnit(old, unit) ? old : null;

/** Of one key. */
function sameUnit(a: Unit, b: Unit): boolean {
  return (
    a.emptyLocal === b.emptyLocal &&
    a.affinitySec === b.affinitySec &&
    sameRanges(a.sourceRanges, b.sourceRanges) &&
    sameItems(a.frontends, b.frontends, sameFrontend) &&
    sameItems(a.endpoints, b.endpoints)
  );
}

function sameRanges(a: UnitRanges | null, b: UnitRanges | null): boolean {
  if (a === null || b === null) return a === b;
  return a.allowHost === b.allowHost && a.allowPods === b.allowPods && sameItems(a.prefixes, b.prefixes);
}

function sameFrontend(a: Frontend, b: Frontend): boolean {
  return (
    a.role === b.role &&
    a.address === b.address &&
    a.port === b.port &&
    a.internalLocal === b.internalLocal &&
    a.externalLocal === b.externalLocal
  );
}
