// SPDX-License-Identifier: Apache-2.0
// The body of an EndpointSlice as arrays of numbers: a quarter of a million endpoints are no objects.

import { ADDRESS_BYTES, parseAddress } from "../../model/address.ts";
import { appendAddress } from "../../model/address-list.ts";
import { CONDITION, type EndpointSlice, type Family, type SlicePort } from "../../model/types.ts";
import {
  describe,
  exact,
  type Findings,
  intern,
  isDnsName,
  isObject,
  type JsonObject,
  listMember,
  member,
  objectMember,
  readPort,
  readPortName,
  readProtocol,
} from "./field.ts";
import { HintReader } from "./hints.ts";
import { type ObjectMeta, readTime } from "./meta.ts";
import { SharedLists } from "./shared-lists.ts";

const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
const HEADLESS_LABEL = "service.kubernetes.io/headless";
const TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time";
const NO_CONDITIONS: JsonObject = {};
/** The API server lets no slice have more endpoints. */
const MAX_SHARED = 1_000;

/** The slice; null if it is not ours (no finding) or must be rejected whole (findings). */
export function sliceFrom(meta: ObjectMeta, object: JsonObject, findings: Findings): EndpointSlice | null {
  if (Object.hasOwn(meta.labels, HEADLESS_LABEL)) return null;
  const serviceName = member(meta.labels, SERVICE_NAME_LABEL) ?? "";
  if (serviceName === "") return null;
  if (typeof serviceName !== "string" || !isDnsName(serviceName, 253)) {
    findings.add(`metadata.labels["${SERVICE_NAME_LABEL}"]`, `must be a DNS name, not ${describe(serviceName)}`);
    return null;
  }
  const family = readFamily(member(object, "addressType"), findings);
  if (family === null) return null;
  const ports = readPorts(object, findings);
  const endpoints = readEndpoints(listMember(object, "endpoints", "endpoints", findings), family, findings);
  return {
    namespace: meta.namespace,
    name: meta.name,
    serviceName,
    family,
    ports,
    triggerMs: readTime(member(meta.annotations, TRIGGER_ANNOTATION)),
    // One by one: what is spread stands in a table of its own, in every slice.
    count: endpoints.count,
    addresses: endpoints.addresses,
    conditions: endpoints.conditions,
    nodeNames: endpoints.nodeNames,
    zoneHints: endpoints.zoneHints,
    nodeHints: endpoints.nodeHints,
  };
}

/** FQDN slices are none of a proxy's business: null without a finding. */
function readFamily(addressType: unknown, findings: Findings): Family | null {
  if (addressType === "IPv4") return 4;
  if (addressType === "IPv6") return 6;
  if (addressType !== "FQDN") findings.add("addressType", `must be IPv4, IPv6 or FQDN, not ${describe(addressType)}`);
  return null;
}

const portLists = new SharedLists<SlicePort>();

/** A port without name (nil; "" is one) or without number means "any" in the API and nothing to a proxy: left out. */
function readPorts(object: JsonObject, findings: Findings): readonly SlicePort[] {
  const ports: SlicePort[] = [];
  for (const [i, entry] of listMember(object, "ports", "ports", findings).entries()) {
    const path = `ports[${i}]`;
    if (!isObject(entry)) {
      findings.add(path, `must be an object, not ${describe(entry)}`);
      continue;
    }
    const number = member(entry, "port") ?? 0;
    if (number === 0 || (member(entry, "name") ?? null) === null) continue;
    const name = readPortName(member(entry, "name"), `${path}.name`, findings);
    const protocol = readProtocol(member(entry, "protocol"), `${path}.protocol`, findings);
    const port = readPort(number, `${path}.port`, findings);
    if (name !== null && protocol !== null && port !== null) ports.push({ name, protocol, port });
  }
  return portLists.of(ports);
}

type Endpoints = Pick<EndpointSlice, "count" | "addresses" | "conditions" | "nodeNames" | "zoneHints" | "nodeHints">;

function readEndpoints(list: readonly unknown[], family: Family, findings: Findings): Endpoints {
  const addresses: number[] = [];
  const conditions = new Uint8Array(list.length);
  const nodeNames: (string | null)[] = [];
  const hints = new HintReader(findings);
  for (let i = 0; i < list.length; i++) {
    const entry = list[i];
    if (!isObject(entry)) {
      findings.add(`endpoints[${i}]`, `must be an object, not ${describe(entry)}`);
      continue;
    }
    if (!readAddress(entry, i, { family, addresses }, findings)) continue;
    conditions[nodeNames.length] = readConditions(objectMember(entry, "conditions") ?? NO_CONDITIONS);
    const nodeName = member(entry, "nodeName");
    nodeNames.push(typeof nodeName === "string" && nodeName !== "" ? intern(nodeName) : null);
    hints.add(entry, i);
  }
  const count = nodeNames.length;
  return {
    count,
    addresses: exact(addresses),
    conditions: sharedConditions(conditions.subarray(0, count)),
    nodeNames: exact(nodeNames),
    zoneHints: hints.zones,
    nodeHints: hints.nodes,
  };
}

const ALL_WELL = CONDITION.READY | CONDITION.SERVING;
/** Conditions of slices without an endpoint that is anything but ready and serving, by their number. */
const allWell = new Map<number, Uint8Array>();

/** Nearly every slice has the conditions of all others of its size: those share one array, which nobody writes to. */
function sharedConditions(conditions: Uint8Array): Uint8Array {
  if (conditions.some((bits) => bits !== ALL_WELL)) return conditions.slice();
  const shared = allWell.get(conditions.length);
  if (shared !== undefined) return shared;
  const made = conditions.slice();
  if (made.length <= MAX_SHARED) allWell.set(made.length, made);
  return made;
}

interface Destination {
  readonly family: Family;
  readonly addresses: number[];
}

const scratch = new Uint8Array(ADDRESS_BYTES);

/** Adds addresses[0]; an endpoint without any is skipped in silence. */
function readAddress(entry: JsonObject, i: number, { family, addresses }: Destination, findings: Findings): boolean {
  const list = member(entry, "addresses") ?? [];
  if (!Array.isArray(list)) {
    findings.add(`endpoints[${i}].addresses`, `must be a list, not ${describe(list)}`);
    return false;
  }
  if (list.length === 0) return false;
  const text: unknown = list[0];
  if (typeof text === "string" && parseAddress(text, scratch) === family) {
    appendAddress(addresses, family, scratch);
    return true;
  }
  findings.add(`endpoints[${i}].addresses[0]`, `must be an IPv${family} address, not ${describe(text)}`);
  return false;
}

/** nil ready = ready, nil serving = serving, nil terminating = not. */
function readConditions(conditions: JsonObject): number {
  const ready = member(conditions, "ready") === false ? 0 : CONDITION.READY;
  const serving = member(conditions, "serving") === false ? 0 : CONDITION.SERVING;
  return ready | serving | (member(conditions, "terminating") === true ? CONDITION.TERMINATING : 0);
}
