// SPDX-License-Identifier: Apache-2.0
// An nftables table as `nft -j list table` prints it, sorted so that a packet can be followed through it (ruleset-walk.ts).
// Knows the statements that kube-proxy writes and throws at any other.

/** A value, or an expression; nft's own form. */
export type Json = null | string | number | boolean | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = Extract<Json, { readonly [name: string]: Json }>;

export interface BaseChain {
  readonly name: string;
  /** "filter", "nat". */
  readonly type: string;
  readonly hook: string;
  readonly priority: number;
}

/** A named set, or a verdict map: exact keys by keyOf(), and what holds more than one. */
export interface NamedSet {
  readonly exact: ReadonlyMap<string, Json>;
  readonly wide: readonly (readonly [key: Json, data: Json])[];
  /** Seconds; 0: none. */
  readonly timeoutSec: number;
}

export interface Ruleset {
  /** By priority. */
  readonly bases: readonly BaseChain[];
  /** The statements of each rule. */
  readonly chains: ReadonlyMap<string, readonly (readonly JsonObject[])[]>;
  readonly sets: ReadonlyMap<string, NamedSet>;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The one text of a value or of several joined together. */
export function keyOf(value: Json): string {
  if (isObject(value) && Array.isArray(value["concat"])) return value["concat"].map(String).join(" . ");
  return String(value);
}

export function parseRuleset(text: string): Ruleset {
  const { nftables } = JSON.parse(text) as { readonly nftables: readonly JsonObject[] };
  const bases: BaseChain[] = [];
  const chains = new Map<string, (readonly JsonObject[])[]>();
  const sets = new Map<string, NamedSet>();
  for (const { chain, rule, set, map } of nftables) {
    if (isObject(chain)) addChain(chain, bases, chains);
    else if (isObject(rule)) chains.get(String(rule["chain"]))?.push(rule["expr"] as readonly JsonObject[]);
    const named = set ?? map;
    if (isObject(named)) sets.set(String(named["name"]), namedSet(named));
  }
  bases.sort((a, b) => a.priority - b.priority);
  return { bases, chains, sets };
}

function addChain({ name, type, hook, prio }: JsonObject, bases: BaseChain[], chains: Map<string, unknown[]>): void {
  chains.set(String(name), []);
  if (hook !== undefined)
    bases.push({ name: String(name), type: String(type), hook: String(hook), priority: Number(prio) });
}

function namedSet({ elem, timeout }: JsonObject): NamedSet {
  const exact = new Map<string, Json>();
  const wide: (readonly [Json, Json])[] = [];
  for (const entry of (elem ?? []) as readonly Json[]) {
    const [key, data] = Array.isArray(entry) ? [bare(entry[0] ?? null), entry[1] ?? null] : [bare(entry), null];
    if (isObject(key) && (key["prefix"] ?? key["range"]) !== undefined) wide.push([key, data]);
    else exact.set(keyOf(key), data);
  }
  return { exact, wide, timeoutSec: Number(timeout ?? 0) };
}

/** An element without its comment and timeout. */
function bare(element: Json): Json {
  return isObject(element) && isObject(element["elem"]) ? (element["elem"]["val"] ?? null) : element;
}
