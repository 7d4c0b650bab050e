// SPDX-License-Identifier: Apache-2.0
// The body of a Service: which of its fields a Service proxy serves, and which of them are refused.

import { canonicalAddress, familyOfText, formatCidr, parseCidr } from "../../model/address.ts";
import type { Family, Service, ServicePort } from "../../model/types.ts";
import {
  describe,
  exact,
  type Findings,
  isObject,
  type JsonObject,
  listMember,
  member,
  objectMember,
  readPort,
  readPortName,
  readProtocol,
} from "./field.ts";
import type { ObjectMeta } from "./meta.ts";
import { SharedLists } from "./shared-lists.ts";

const PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name";
const DEFAULT_AFFINITY_SEC = 10_800;
const MAX_AFFINITY_SEC = 86_400;
const NO_SPEC: JsonObject = {};

/**
 * The body of a Service of the proxy of this name (null: of Services that name none). Answers null if it is not ours (no
 * finding) or must be rejected whole (findings).
 */
export function serviceReader(proxyName: string | null) {
  return (meta: ObjectMeta, object: JsonObject, findings: Findings): Service | null =>
    (member(meta.labels, PROXY_NAME_LABEL) ?? null) === proxyName ? serviceFrom(meta, object, findings) : null;
}

function serviceFrom(meta: ObjectMeta, object: JsonObject, findings: Findings): Service | null {
  const spec = objectMember(object, "spec");
  if (spec === undefined) {
    findings.add("spec", `must be an object, not ${describe(member(object, "spec"))}`);
    return null;
  }
  const type = member(spec, "type") ?? "ClusterIP";
  if (type === "ExternalName" || member(spec, "clusterIP") === "None") return null;
  const clusterIps = readClusterIps(spec, findings);
  if (clusterIps === null) return null;
  const status = objectMember(object, "status") ?? NO_SPEC;
  const { ranges, closed } = readSourceRanges(spec, findings);
  return {
    namespace: meta.namespace,
    name: meta.name,
    uid: meta.uid,
    createdMs: meta.createdMs,
    type: typeof type === "string" ? type : "",
    clusterIps,
    externalIps: readAddresses(
      listMember(spec, "externalIPs", "spec.externalIPs", findings),
      "spec.externalIPs",
      findings,
    ),
    loadBalancerIps: exact(
      readIngress(objectMember(status, "loadBalancer") ?? NO_SPEC, findings).filter(
        (address) => !closed.includes(familyOfText(address)),
      ),
    ),
    ports: readPorts(spec, findings),
    internalLocal: member(spec, "internalTrafficPolicy") === "Local",
    externalLocal: member(spec, "externalTrafficPolicy") === "Local" && countsAsExternal(type, spec),
    affinitySec: readAffinity(spec, findings),
    sourceRanges: ranges,
    healthCheckNodePort: readOptionalPort(member(spec, "healthCheckNodePort"), "spec.healthCheckNodePort", findings),
  };
}

/** Whether externalTrafficPolicy counts: not for what only the cluster reaches. */
function countsAsExternal(type: unknown, spec: JsonObject): boolean {
  if (type === "NodePort" || type === "LoadBalancer") return true;
  const externalIps = member(spec, "externalIPs");
  return Array.isArray(externalIps) && externalIps.length > 0;
}

/** Both families' cluster addresses; null if the Service is headless or has none that is one. */
function readClusterIps(spec: JsonObject, findings: Findings): readonly string[] | null {
  const list = listMember(spec, "clusterIPs", "spec.clusterIPs", findings);
  if (list[0] === "None") return null;
  const single = member(spec, "clusterIP");
  if (list.length > 0) {
    const addresses = readAddresses(list, "spec.clusterIPs", findings);
    return addresses.length > 0 ? addresses : null;
  }
  const address = typeof single === "string" ? canonicalAddress(single) : null;
  if (address !== null) return [address];
  findings.add("spec.clusterIP", `must be an IP address, not ${describe(single)}`);
  return null;
}

function readAddresses(list: readonly unknown[], path: string, findings: Findings): readonly string[] {
  const addresses = new Set<string>();
  for (const [i, value] of list.entries()) {
    const address = typeof value === "string" ? canonicalAddress(value) : null;
    if (address === null) findings.add(`${path}[${i}]`, `must be an IP address, not ${describe(value)}`);
    else addresses.add(address);
  }
  return exact([...addresses]);
}

/** Addresses of status.loadBalancer.ingress with ipMode nil or VIP; an entry of a host name alone is none of ours. */
function readIngress(loadBalancer: JsonObject, findings: Findings): readonly string[] {
  const path = "status.loadBalancer.ingress";
  const addresses = new Set<string>();
  for (const [i, entry] of listMember(loadBalancer, "ingress", path, findings).entries()) {
    if (!isObject(entry)) {
      findings.add(`${path}[${i}]`, `must be an object, not ${describe(entry)}`);
      continue;
    }
    const ip = member(entry, "ip") ?? "";
    const mode = member(entry, "ipMode") ?? "VIP";
    if (ip === "" || mode !== "VIP") continue;
    const address = typeof ip === "string" ? canonicalAddress(ip) : null;
    if (address === null) findings.add(`${path}[${i}].ip`, `must be an IP address, not ${describe(ip)}`);
    else addresses.add(address);
  }
  return exact([...addresses]);
}

interface SourceRanges {
  readonly ranges: readonly string[];
  /** Families that a wrong entry might have been meant for and no good one is for: open to all is not what was asked. */
  readonly closed: readonly Family[];
}

function readSourceRanges(spec: JsonObject, findings: Findings): SourceRanges {
  const path = "spec.loadBalancerSourceRanges";
  const list = listMember(spec, "loadBalancerSourceRanges", path, findings);
  const found = new Set<string>();
  let wrong = 0;
  for (const [i, value] of list.entries()) {
    const cidr = typeof value === "string" ? parseCidr(value.trim()) : null;
    if (cidr === null) {
      wrong++;
      findings.add(`${path}[${i}]`, `must be a CIDR, not ${describe(value)}`);
    } else found.add(formatCidr(cidr));
  }
  const ranges = [...found];
  const closed = ([4, 6] as const).filter(
    (family) => wrong > 0 && !ranges.some((range) => familyOfText(range) === family),
  );
  return { ranges: exact(ranges), closed };
}

const portLists = new SharedLists<ServicePort>();

function readPorts(spec: JsonObject, findings: Findings): readonly ServicePort[] {
  const ports: ServicePort[] = [];
  const names = new Set<string>();
  const numbers = new Set<string>();
  for (const [i, entry] of listMember(spec, "ports", "spec.ports", findings).entries()) {
    const path = `spec.ports[${i}]`;
    const port = readServicePort(entry, path, findings);
    if (port === null) continue;
    const number = `${port.port}/${port.protocol}`;
    if (names.has(port.name)) {
      findings.add(`${path}.name`, `${describe(port.name)} names another port of this Service already`);
    } else if (numbers.has(number)) {
      findings.add(`${path}.port`, `${port.port} with this protocol is another port of this Service already`);
    } else {
      names.add(port.name);
      numbers.add(number);
      ports.push(port);
    }
  }
  // A port of the nodes is no other Service's.
  return ports.some(({ nodePort }) => nodePort !== 0) ? exact(ports) : portLists.of(ports);
}

function readServicePort(entry: unknown, path: string, findings: Findings): ServicePort | null {
  if (!isObject(entry)) {
    findings.add(path, `must be an object, not ${describe(entry)}`);
    return null;
  }
  const name = readPortName(member(entry, "name"), `${path}.name`, findings);
  const protocol = readProtocol(member(entry, "protocol"), `${path}.protocol`, findings);
  const port = readPort(member(entry, "port"), `${path}.port`, findings);
  if (name === null || protocol === null || port === null) return null;
  return { name, protocol, port, nodePort: readOptionalPort(member(entry, "nodePort"), `${path}.nodePort`, findings) };
}

/** 0 if absent, null, 0 or (with a problem) no port number. */
function readOptionalPort(value: unknown, path: string, findings: Findings): number {
  const port = value ?? 0;
  return port === 0 ? 0 : (readPort(port, path, findings) ?? 0);
}

function readAffinity(spec: JsonObject, findings: Findings): number {
  if (member(spec, "sessionAffinity") !== "ClientIP") return 0;
  const config = objectMember(spec, "sessionAffinityConfig") ?? NO_SPEC;
  const seconds = member(objectMember(config, "clientIP") ?? NO_SPEC, "timeoutSeconds") ?? DEFAULT_AFFINITY_SEC;
  if (typeof seconds === "number" && Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_AFFINITY_SEC)
    return seconds;
  const path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
  findings.add(
    path,
    `must be from 1 to ${MAX_AFFINITY_SEC} seconds, not ${describe(seconds)}; ${DEFAULT_AFFINITY_SEC} is used`,
  );
  return DEFAULT_AFFINITY_SEC;
}
