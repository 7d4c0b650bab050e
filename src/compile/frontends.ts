// SPDX-License-Identifier: Apache-2.0
// Which frontends does a Service ask for? One offer a ServicePort and family, before other Services are looked at
// (conflicts.ts): families filtered, unfit addresses and ports refused by name.

import { addressBytes, familyOfText, specialAddress } from "../model/address.ts";
import {
  type Family,
  type NodeFacts,
  PROTOCOL,
  PROTOCOL_NAME,
  type Problem,
  type Service,
  type ServicePort,
} from "../model/types.ts";
import { type ExternalIpRules, refusedExternalIp } from "./external-ips.ts";
import { refusedBecause } from "./hygiene.ts";
import type { Frontend, FrontendRole } from "./unit.ts";

/**
 * What is served beside what the objects say. A ClusterIP among the device addresses is left alone (NodeLocal DNSCache), and
 * goes on being its Service's: nobody else may have it.
 */
export interface CompileOptions extends ExternalIpRules {
  /** That all Services may ask for together; who comes when there is no room waits. */
  readonly mostFrontends: number;
}

/** A frontend a Service asks for. */
export interface Candidate {
  /** null: claimed, but left alone. */
  readonly frontend: Frontend | null;
  /** "10.96.0.1:80/TCP", or "NodePort 30080/TCP over IPv4": equal exactly for frontends that exclude each other. */
  readonly claim: string;
  /** Where the Service says so. */
  readonly field: string;
}

/** What one ServicePort wants in one family. */
export interface PortOffer {
  readonly port: ServicePort;
  readonly family: Family;
  /** In the order of unit.ts: by role, address, port. */
  readonly candidates: readonly Candidate[];
}

export interface Offer {
  readonly ports: readonly PortOffer[];
  readonly problems: readonly Problem[];
}

interface ServiceAddress {
  readonly role: Exclude<FrontendRole, "nodePort">;
  readonly address: string;
  readonly isLeftAlone: boolean;
  readonly field: string;
}

/** An eighth of the room that there is by default: ports times addresses, a small object can ask for more than memory holds. */
const MOST_FRONTENDS = 32_768;

/** Pure; a Service without a ClusterIP in a family (headless, ExternalName) gets no offer in it. Port names are unique. */
export function offerFrontends(service: Service, options: CompileOptions, facts: NodeFacts): Offer {
  const problems: Problem[] = [];
  const refuse = (field: string, reason: string): void => {
    const key = `${service.namespace}/${service.name}`;
    problems.push({ kind: "Service", key, field, reason, event: "FrontendRefused" });
  };
  const families = ([4, 6] as const).filter((family) => service.clusterIps.some((ip) => familyOfText(ip) === family));
  if (families.length === 0) return { ports: [], problems };
  const addresses = serviceAddresses(service, { options, facts, refuse });
  const each = addresses.length + (service.ports.some(({ nodePort }) => nodePort !== 0) ? families.length : 0);
  if (service.ports.length * each > MOST_FRONTENDS) {
    const asked = `${service.ports.length} ports at ${each} addresses`;
    refuse(
      "spec.ports",
      `${asked} are more frontends than the ${MOST_FRONTENDS} that a Service may have: none is served`,
    );
    return { ports: [], problems };
  }
  const taken = new Set<string>();
  const ports: PortOffer[] = [];
  for (const [index, port] of service.ports.entries()) {
    if (!acceptPort(port, index, refuse)) continue;
    for (const family of families) {
      const candidates: Candidate[] = [];
      for (const candidate of candidatesOf(service, index, family, addresses)) {
        if (taken.has(candidate.claim))
          refuse(candidate.field, `${candidate.claim} is already another port's of this Service`);
        else candidates.push(candidate);
        taken.add(candidate.claim);
      }
      ports.push({ port, family, candidates });
    }
  }
  return { ports, problems };
}

type Refuse = (field: string, reason: string) => void;

/** SCTP gets no unit: the socket programs carry TCP and UDP. */
function acceptPort({ protocol }: ServicePort, index: number, refuse: Refuse): boolean {
  if (protocol !== PROTOCOL.SCTP) return true;
  refuse(
    `spec.ports[${index}].protocol`,
    "SCTP is translated only for packets, not at sockets: this port is not served",
  );
  return false;
}

interface AddressRules {
  readonly options: CompileOptions;
  readonly facts: NodeFacts;
  readonly refuse: Refuse;
}

/**
 * The addresses of all roles that may be served, sorted by role and address. One address in several roles has the role
 * that says most: its ClusterIP, then its load balancer's (source ranges count only there), then external.
 */
function serviceAddresses(service: Service, { options, facts, refuse }: AddressRules): ServiceAddress[] {
  const found = new Map<string, ServiceAddress>();
  const isLeftAlone = (role: FrontendRole, address: string): boolean =>
    role === "clusterIP" && options.deviceAddresses.has(address);
  const add = (role: ServiceAddress["role"], list: readonly string[], field: (index: number) => string): void => {
    for (const [index, address] of list.entries()) {
      if (found.has(address)) continue;
      const external = role === "externalIP" ? refusedExternalIp(address, options, facts) : null;
      const reason = unfit(role, address) ?? external;
      if (reason !== null) refuse(field(index), reason);
      else found.set(address, { role, address, isLeftAlone: isLeftAlone(role, address), field: field(index) });
    }
  };
  add("clusterIP", service.clusterIps, (index) => `spec.clusterIPs[${index}]`);
  add("loadBalancer", service.loadBalancerIps, (index) => `status.loadBalancer.ingress[${index}].ip`);
  add("externalIP", service.externalIps, (index) => `spec.externalIPs[${index}]`);
  return [...found.values()].sort((a, b) => compareText(a.role, b.role) || compareText(a.address, b.address));
}

/** Why this address cannot be a frontend, or null. ClusterIPs are the API server's choice: only the impossible is refused. */
function unfit(role: ServiceAddress["role"], address: string): string | null {
  const special = specialAddress(addressBytes(address), 0, familyOfText(address));
  if (special !== null && special !== "reserved" && !(special === "link-local" && role === "clusterIP")) {
    return refusedBecause(address, special);
  }
  return null;
}

function candidatesOf(
  service: Service,
  index: number,
  family: Family,
  addresses: readonly ServiceAddress[],
): readonly Candidate[] {
  const { port, nodePort, protocol } = service.ports[index] as ServicePort;
  const candidates: Candidate[] = [];
  for (const { role, address, isLeftAlone, field } of addresses) {
    if (familyOfText(address) !== family) continue;
    candidates.push({
      frontend: isLeftAlone ? null : frontend(service, role, address, port),
      claim: claimOf(family === 6 ? `[${address}]` : address, ":", port, "/", PROTOCOL_NAME[protocol]),
      field,
    });
  }
  if (nodePort !== 0) {
    candidates.push({
      frontend: frontend(service, "nodePort", "", nodePort),
      claim: claimOf("NodePort ", nodePort, "/", PROTOCOL_NAME[protocol], " over IPv", family),
      field: `spec.ports[${index}].nodePort`,
    });
  }
  return candidates;
}

/** Joined for the same reason as objectKey(): every claim stays. */
const claimOf = (...parts: readonly (string | number)[]): string => parts.join("");

function frontend(service: Service, role: FrontendRole, address: string, port: number): Frontend {
  const internal = role === "clusterIP";
  return {
    role,
    address,
    port,
    internalLocal: internal && service.internalLocal,
    externalLocal: !internal && service.externalLocal,
  };
}

/** By code units: the same on every machine. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
