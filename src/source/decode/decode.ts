// SPDX-License-Identifier: Apache-2.0
// Unknown JSON or YAML → the objects portolan works on: the border that hostile input does not cross. Decides which objects
// are a Service proxy's (kube-proxy's selectors, applied again here because a folder has no selectors) and never throws.

import { type EndpointSlice, type Node, objectKey, type Problem, type Service } from "../../model/types.ts";
import { describe, Findings, isObject, type JsonObject } from "./field.ts";
import { type ObjectMeta, readMeta } from "./meta.ts";
import { nodeFrom, serviceCidrsFrom } from "./node.ts";
import { serviceReader } from "./service.ts";
import { sliceFrom } from "./slice.ts";

/**
 * `object` null without problems: not ours (headless, ExternalName, another proxy's, no Service's slice).
 * `object` null with problems: rejected whole. `object` with problems: accepted without the fields named.
 * `key` "namespace/name", or "name" of what is in no namespace; null if the metadata could not be read.
 */
export interface Decoded<T> {
  readonly key: string | null;
  readonly object: T | null;
  readonly problems: readonly Problem[];
}

/** A Service of API group ""; ours is one whose label service-proxy-name is `proxyName`, or absent if that is null. */
export function decodeService(object: unknown, proxyName: string | null = null): Decoded<Service> {
  return decode("Service", object, serviceReader(proxyName));
}

/** An EndpointSlice of discovery.k8s.io/v1. */
export function decodeEndpointSlice(object: unknown): Decoded<EndpointSlice> {
  return decode("EndpointSlice", object, sliceFrom);
}

/** A Node of API group "". */
export function decodeNode(object: unknown): Decoded<Node> {
  return decode("Node", object, nodeFrom);
}

/** The prefixes of a ServiceCIDR of networking.k8s.io/v1, canonical text. */
export function decodeServiceCidr(object: unknown): Decoded<readonly string[]> {
  return decode("ServiceCIDR", object, serviceCidrsFrom);
}

type ObjectKind = Exclude<Problem["kind"], "File">;
type Body<T> = (meta: ObjectMeta, object: JsonObject, findings: Findings) => T | null;

function decode<T>(kind: ObjectKind, object: unknown, body: Body<T>): Decoded<T> {
  if (!isObject(object)) return rejected(kind, "", `must be an object, not ${describe(object)}`);
  const meta = readMeta(object);
  if (typeof meta === "string") return rejected(kind, "metadata", meta);
  const namespaced = kind === "Service" || kind === "EndpointSlice";
  const key = namespaced ? objectKey(meta.namespace, meta.name) : meta.name;
  const findings = new Findings(kind, key);
  try {
    return { key, object: body(meta, object, findings), problems: findings.list() };
  } catch (error) {
    // Only an input that fights back gets here, such as one nested so deep that describing it ends the stack.
    findings.add("", `cannot be decoded: ${error instanceof Error ? error.message : "unknown error"}`);
    return { key, object: null, problems: findings.list() };
  }
}

function rejected(kind: ObjectKind, field: string, reason: string): Decoded<never> {
  return { key: null, object: null, problems: [{ kind, key: "", field, reason }] };
}
