// SPDX-License-Identifier: Apache-2.0
// What every kind takes from an object's metadata.

import { UNKNOWN_AGE } from "../../model/types.ts";
import { describe, intern, isDnsName, isObject, type JsonObject, member, objectMember } from "./field.ts";

export interface ObjectMeta {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Unix milliseconds; UNKNOWN_AGE if absent. */
  readonly createdMs: number;
  /** It has a deletionTimestamp. */
  readonly deleting: boolean;
  readonly labels: JsonObject;
  readonly annotations: JsonObject;
}

const NOTHING: JsonObject = {};

/** The metadata, or in words why there is none. An absent namespace is "default", as kubectl has it. */
export function readMeta(object: JsonObject): ObjectMeta | string {
  const metadata = objectMember(object, "metadata");
  if (metadata === undefined) return "must be an object";
  const name = member(metadata, "name");
  if (typeof name !== "string" || !isDnsName(name, 253)) return `name must be a DNS name, not ${describe(name)}`;
  const namespace = member(metadata, "namespace") ?? "default";
  if (typeof namespace !== "string" || !isDnsName(namespace, 63)) {
    return `namespace must be a DNS label, not ${describe(namespace)}`;
  }
  const labels = member(metadata, "labels") ?? NOTHING;
  if (!isObject(labels)) return `labels must be an object, not ${describe(labels)}`;
  const uid = member(metadata, "uid");
  return {
    namespace: intern(namespace),
    name,
    uid: typeof uid === "string" ? uid : "",
    createdMs: readTime(member(metadata, "creationTimestamp")) || UNKNOWN_AGE,
    deleting: typeof member(metadata, "deletionTimestamp") === "string",
    labels,
    annotations: objectMember(metadata, "annotations") ?? NOTHING,
  };
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** RFC 3339 in Unix milliseconds; 0 if it is none. */
export function readTime(value: unknown): number {
  if (typeof value !== "string" || !RFC_3339.test(value)) return 0;
  const ms = Date.parse(value);
  return Number.isFinite(ms) && ms > 0 ? ms : 0;
}
