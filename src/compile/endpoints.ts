// SPDX-License-Identifier: Apache-2.0
// Which endpoints does a ServicePort have, and which of them are in its cluster and its local set? Merges the slices
// of one Service; kube-proxy's rules for ready, serving and terminating, each set falling back for itself; and for
// topology (KEP-2433, KEP-3015), which only the cluster set knows.

import { addressWord } from "../model/address-list.ts";
import { CONDITION, type EndpointSlice, type Family, type Protocol } from "../model/types.ts";
import type { AcceptedSlice } from "./hygiene.ts";
import { ENDPOINT, ENDPOINT_STRIDE } from "./unit.ts";

export interface EndpointQuery {
  /** Matched with the slice ports' names and protocols; targetPort is not read. */
  readonly portName: string;
  readonly protocol: Protocol;
  readonly family: Family;
  readonly nodeName: string;
  /** The node's; "" if it has none. */
  readonly zone: string;
  /** Some frontend has policy Local; otherwise nobody asks for a local set and none is marked. */
  readonly needsLocal: boolean;
}

export interface EndpointSets {
  /** As Unit.endpoints. */
  readonly endpoints: Uint8Array;
  /** No usable endpoint anywhere. */
  readonly clusterEmpty: boolean;
}

/**
 * What is known of one entry, eight bits; of two entries for the same address and port the higher number wins, so that
 * the result does not depend on which slice came first: a non-terminating one, then a ready one, a serving, a local
 * one, then one that is meant for this node, for some node, for this zone, for some zone.
 */
const RANK = {
  ZONE_HINT: 1,
  FOR_ZONE: 2,
  NODE_HINT: 4,
  FOR_NODE: 8,
  LOCAL: 16,
  SERVING: 32,
  READY: 64,
  STAYING: 128,
} as const;

/** Words of an entry while it is sorted: four of the address, then port << 16 | descending rank. */
const WORDS = 5;

/** Pure; the slices may come in any order. */
export function selectEndpoints(slices: readonly AcceptedSlice[], query: EndpointQuery): EndpointSets {
  const words = gather(slices, query);
  const distinct = sortDistinct(words);
  const { ready, localReady, preferred } = survey(words, distinct);
  const endpoints = new Uint8Array(distinct.length * ENDPOINT_STRIDE);
  let length = 0;
  let clusterEmpty = true;
  for (const entry of distinct) {
    const rank = rankOf(words, entry);
    let flags = (rank & RANK.SERVING) !== 0 ? ENDPOINT.SERVING : 0;
    if (inSet(rank, ready) && (rank & preferred) === preferred) flags |= ENDPOINT.CLUSTER;
    if (query.needsLocal && (rank & RANK.LOCAL) !== 0 && inSet(rank, localReady)) flags |= ENDPOINT.LOCAL;
    if (flags === 0) continue;
    if ((flags & ENDPOINT.CLUSTER) !== 0) clusterEmpty = false;
    writeEndpoint(endpoints, length, words, entry, flags);
    length += ENDPOINT_STRIDE;
  }
  return { endpoints: length === endpoints.length ? endpoints : endpoints.slice(0, length), clusterEmpty };
}

interface Survey {
  readonly ready: boolean;
  readonly localReady: boolean;
  /** What an endpoint must have to be in the cluster set: FOR_NODE, FOR_ZONE, or 0 for nothing. */
  readonly preferred: number;
}

/**
 * What the ready endpoints have in common. Topology counts only if every one of them has a hint and one is meant for
 * this node; else the same by zone; else all are used. Without a ready one nothing is preferred.
 */
function survey(words: Uint32Array, entries: Uint32Array): Survey {
  let all = ~0;
  let any = 0;
  let localReady = false;
  for (const entry of entries) {
    const rank = rankOf(words, entry);
    if ((rank & RANK.READY) === 0) continue;
    all &= rank;
    any |= rank;
    if ((rank & RANK.LOCAL) !== 0) localReady = true;
  }
  const usable = (hint: number, meantForUs: number): boolean => (all & hint) !== 0 && (any & meantForUs) !== 0;
  const byZone = usable(RANK.ZONE_HINT, RANK.FOR_ZONE) ? RANK.FOR_ZONE : 0;
  const preferred = usable(RANK.NODE_HINT, RANK.FOR_NODE) ? RANK.FOR_NODE : byZone;
  return { ready: any !== 0, localReady, preferred };
}

/** A set is its ready endpoints; without any, those that still serve while they terminate. */
function inSet(rank: number, setHasReady: boolean): boolean {
  if (setHasReady) return (rank & RANK.READY) !== 0;
  return (rank & RANK.SERVING) !== 0 && (rank & RANK.STAYING) === 0;
}

/** Every accepted endpoint of every matching slice port, WORDS each. */
function gather(slices: readonly AcceptedSlice[], query: EndpointQuery): Uint32Array {
  let most = 0;
  const matching: { accepted: AcceptedSlice; port: number }[] = [];
  for (const accepted of slices) {
    if (accepted.slice.family !== query.family) continue;
    for (const port of accepted.slice.ports) {
      if (port.name !== query.portName || port.protocol !== query.protocol) continue;
      matching.push({ accepted, port: port.port });
      most += accepted.slice.count;
    }
  }
  const words = new Uint32Array(most * WORDS);
  let at = 0;
  for (const { accepted, port } of matching) {
    const { slice, refused } = accepted;
    for (let i = 0; i < slice.count; i++) {
      if (refused?.has(i) === true) continue;
      for (let word = 0; word < 4; word++) words[at++] = addressWord(slice, i, word);
      words[at++] = (port << 16) | (0xffff - rankAt(slice, i, query));
    }
  }
  return words.subarray(0, at);
}

function rankAt(slice: EndpointSlice, index: number, { nodeName, zone }: EndpointQuery): number {
  const conditions = slice.conditions[index] ?? 0;
  return (
    ((conditions & CONDITION.TERMINATING) === 0 ? RANK.STAYING : 0) |
    ((conditions & CONDITION.READY) !== 0 ? RANK.READY : 0) |
    ((conditions & CONDITION.SERVING) !== 0 ? RANK.SERVING : 0) |
    (slice.nodeNames[index] === nodeName ? RANK.LOCAL : 0) |
    hintRank(slice.nodeHints?.[index], nodeName, RANK.NODE_HINT, RANK.FOR_NODE) |
    hintRank(slice.zoneHints?.[index], zone, RANK.ZONE_HINT, RANK.FOR_ZONE)
  );
}

function hintRank(hints: readonly string[] | undefined, ours: string, hint: number, meantForUs: number): number {
  if (hints === undefined || hints.length === 0) return 0;
  return hints.includes(ours) ? hint | meantForUs : hint;
}

function rankOf(words: Uint32Array, entry: number): number {
  return 0xffff - ((words[entry + 4] ?? 0) & 0xffff);
}

/** Offsets of the entries by address and port, of equal ones only the highest rank. */
function sortDistinct(words: Uint32Array): Uint32Array {
  const entries = new Uint32Array(words.length / WORDS);
  for (let i = 0; i < entries.length; i++) entries[i] = i * WORDS;
  entries.sort((a, b) => {
    for (let word = 0; word < WORDS; word++) {
      const difference = (words[a + word] ?? 0) - (words[b + word] ?? 0);
      if (difference !== 0) return difference;
    }
    return 0;
  });
  let kept = 0;
  for (const entry of entries) {
    if (kept > 0 && samePlace(words, entries[kept - 1] ?? 0, entry)) continue;
    entries[kept++] = entry;
  }
  return entries.subarray(0, kept);
}

function samePlace(words: Uint32Array, a: number, b: number): boolean {
  for (let word = 0; word < 4; word++) if (words[a + word] !== words[b + word]) return false;
  return (words[a + 4] ?? 0) >>> 16 === (words[b + 4] ?? 0) >>> 16;
}

function writeEndpoint(out: Uint8Array, at: number, words: Uint32Array, entry: number, flags: number): void {
  for (let word = 0; word < 4; word++) {
    const value = words[entry + word] ?? 0;
    out[at + 4 * word] = value >>> 24;
    out[at + 4 * word + 1] = value >>> 16;
    out[at + 4 * word + 2] = value >>> 8;
    out[at + 4 * word + 3] = value;
  }
  const port = (words[entry + 4] ?? 0) >>> 16;
  out[at + 16] = port >>> 8;
  out[at + 17] = port;
  out[at + 18] = flags;
}
