// SPDX-License-Identifier: Apache-2.0
// What both kinds take from an object's metadata.

import { describe, intern, isDnsName, type JsonObject, member, objectMember } from "./decode-field.ts";

export interface ObjectMeta {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Unix milliseconds; 0 if absent. */
  readonly createdMs: number;
  readonly labels: JsonObject;
}

const NO_LABELS: JsonObject = {};

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
  const uid = member(metadata, "uid");
  return {
    namespace: intern(namespace),
    name,
    uid: typeof uid === "string" ? uid : "",
    createdMs: readTime(member(metadata, "creationTimestamp")),
    labels: objectMember(metadata, "labels") ?? NO_LABELS,
  };
}

function readTime(value: unknown): number {
  if (typeof value !== "string") return 0;
  const ms = Date.parse(value);
  return Number.isFinite(ms) && ms > 0 ? ms : 0;
}
