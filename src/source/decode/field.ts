// SPDX-License-Identifier: Apache-2.0
// How a field of an unknown object is read: every reader answers a value of the right type or records why not.
// Nothing here throws, whatever the input.

import type { Problem } from "../../model/types.ts";
import { PROTOCOL, type Protocol } from "../../model/types.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/** More than this many problems of one object are summed up in one line: a broken slice of 1,000 endpoints must not flood the log. */
const MAX_PROBLEMS = 16;
const MAX_QUOTED = 64;

/** Collects what was not accepted of one object. */
export class Findings {
  readonly #kind: Problem["kind"];
  readonly #key: string;
  readonly #problems: Problem[] = [];
  #more = 0;

  constructor(kind: Problem["kind"], key: string) {
    this.#kind = kind;
    this.#key = key;
  }

  add(field: string, reason: string): void {
    if (this.#problems.length < MAX_PROBLEMS) {
      this.#problems.push({ kind: this.#kind, key: this.#key, field, reason, event: "InvalidField" });
    } else {
      this.#more++;
    }
  }

  list(): Problem[] {
    if (this.#more === 0) return this.#problems;
    const last: Problem = { kind: this.#kind, key: this.#key, field: "", reason: `and ${this.#more} more problems` };
    return [...this.#problems, last];
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object's own member; inherited ones ("constructor") are none. */
export function member(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** The member as an object; undefined if absent, null or of another type. */
export function objectMember(object: JsonObject, name: string): JsonObject | undefined {
  const value = member(object, name);
  return isObject(value) ? value : undefined;
}

/** The member as a list, empty if absent or null; anything else is a problem. */
export function listMember(object: JsonObject, name: string, path: string, findings: Findings): readonly unknown[] {
  const value = member(object, name);
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  findings.add(path, `must be a list, not ${describe(value)}`);
  return [];
}

/** An array without the room for 16 more that push() leaves behind it: there are tens of thousands of them. */
export function exact<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NOTHING : list.slice();
}

const NOTHING: readonly never[] = [];

/** A port number 1..65535; null (and a problem) otherwise. */
export function readPort(value: unknown, path: string, findings: Findings): number | null {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535) return value;
  findings.add(path, `must be a port number from 1 to 65535, not ${describe(value)}`);
  return null;
}

/** A Service protocol; TCP if absent; null (and a problem) otherwise. */
export function readProtocol(value: unknown, path: string, findings: Findings): Protocol | null {
  if (value === undefined || value === null || value === "TCP") return PROTOCOL.TCP;
  if (value === "UDP") return PROTOCOL.UDP;
  if (value === "SCTP") return PROTOCOL.SCTP;
  findings.add(path, `must be TCP, UDP or SCTP, not ${describe(value)}`);
  return null;
}

/** A port's name: a DNS label, or "" for the unnamed port; null (and a problem) otherwise. */
export function readPortName(value: unknown, path: string, findings: Findings): string | null {
  if (value === undefined || value === null || value === "") return "";
  if (typeof value === "string" && isDnsName(value, 63)) return intern(value);
  findings.add(path, `must be a DNS label, not ${describe(value)}`);
  return null;
}

/** Lower-case letters, digits, "-" and "." as Kubernetes names objects; starts and ends with a letter or digit. */
export function isDnsName(text: string, maxLength: number): boolean {
  if (text.length === 0 || text.length > maxLength) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const alphanumeric = (code >= 0x61 && code <= 0x7a) || (code >= 0x30 && code <= 0x39);
    const inner = i > 0 && i < text.length - 1 && (code === 0x2d || code === 0x2e);
    if (!alphanumeric && !inner) return false;
  }
  return true;
}

/** A value in words, short enough for a log line. */
export function describe(value: unknown): string {
  if (value === undefined) return "absent";
  if (typeof value === "string")
    return JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}\u2026` : value);
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  return Array.isArray(value) ? "a list" : `an ${typeof value}`; // an object: all else is no value of JSON or YAML
}

/** Past this many different strings the table starts anew, so that churn of names cannot grow it without end. */
const MAX_INTERNED = 16_384;
const interned = new Map<string, string>();

/** One copy of equal strings: node, namespace and port names repeat in every endpoint. */
export function intern(text: string): string {
  const known = interned.get(text);
  if (known !== undefined) return known;
  if (interned.size >= MAX_INTERNED) interned.clear();
  interned.set(text, text);
  return text;
}
