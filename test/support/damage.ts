// SPDX-License-Identifier: Apache-2.0
// What somebody's hand does to maps in memory: one random damage to one row, slot or word that is in use, or one row more.

import { parseExtentWord } from "../../src/datapath/extent.ts";
import { addressBytes } from "../../src/model/address.ts";
import type { MapDamage } from "../../src/program/findings.ts";
import { type MemoryState, rangeText } from "./memory-maps.ts";

/** Numbers below n. */
export type Random = (n: number) => number;

export function random(seed: number): Random {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

type Hand = (memory: MemoryState, pick: Random) => boolean;

function some<K, V>(map: ReadonlyMap<K, V>, pick: Random): readonly [K, V] | undefined {
  return [...map][pick(map.size)];
}

/** Rows come in pairs, a lost one being as wrong as a changed or a strange one. */
const HANDS: Readonly<Record<MapDamage, readonly Hand[]>> = {
  name: [
    ({ names }, pick) => names.delete(some(names, pick)?.[0] ?? -1),
    ({ names }, pick) => {
      const [id, row] = some(names, pick) ?? [];
      if (id === undefined || row === undefined) return false;
      names.set(id, { ...row, name: "some/body:else" });
      return true;
    },
    ({ names }, pick) => {
      const id = 60 + pick(4);
      if (names.has(id)) return false;
      names.set(id, { family: 4, protocol: 6, name: "no/body" });
      return true;
    },
  ],
  backend: [
    ({ backends }, pick) => {
      const [id, row] = some(backends, pick) ?? [];
      if (id === undefined || row === undefined || row.flags === 0) return false;
      const changes = [{ address: addressBytes("10.66.66.66") }, { port: 6 }, { serviceId: 63 }, { flags: 0 }];
      backends.set(id, { ...row, ...changes[pick(4)], generation: row.generation + 2 * pick(2) });
      return true;
    },
    ({ backends }, pick) => {
      const [id, row] = some(backends, pick) ?? [];
      if (id === undefined || row === undefined || row.flags !== 0) return false;
      backends.set(id, { ...row, flags: 7 });
      return true;
    },
  ],
  slot: [
    ({ services, slots }, pick) => {
      const { base, count } = parseExtentWord(some(services, pick)?.[1].cluster ?? 0n);
      if (count === 0) return false;
      slots[base + pick(count)] = 500 + pick(9);
      return true;
    },
  ],
  service: [
    ({ services }, pick) => {
      const [id, row] = some(services, pick) ?? [];
      if (id === undefined || row === undefined) return false;
      const changes = [{ cluster: row.cluster ^ 1n }, { local: row.local ^ (1n << 56n) }, { cluster: 1n << 33n }];
      services.set(id, { ...row, ...changes[pick(3)] });
      return true;
    },
  ],
  frontend: [
    ({ frontends }, pick) => frontends.delete(some(frontends, pick)?.[0] ?? ""),
    ({ frontends }, pick) => {
      const [key, row] = some(frontends, pick) ?? [];
      if (key === undefined || row === undefined) return false;
      frontends.set(key, { ...row, ...(pick(2) === 0 ? { flags: row.flags ^ 64 } : { serviceId: row.serviceId + 1 }) });
      return true;
    },
    ({ frontends }, pick) => {
      const address = addressBytes(`203.0.113.${pick(200)}`);
      const strange = pick(2) === 0;
      const key = `${strange ? "strange " : ""}203.0.113.${address[15]}|9|6`;
      if (frontends.has(key)) return false;
      frontends.set(key, { address, port: 9, protocol: 6, serviceId: 1, flags: 1 });
      return true;
    },
  ],
  "source-range": [
    ({ sourceRanges }, pick) => sourceRanges.delete(some(sourceRanges, pick)?.[0] ?? ""),
    ({ sourceRanges }, pick) => {
      const range = { serviceId: pick(70), address: addressBytes("10.66.0.0"), bits: pick(2) === 0 ? 112 : -16 };
      if (sourceRanges.has(rangeText(range))) return false;
      sourceRanges.set(rangeText(range), range);
      return true;
    },
  ],
  "node-address": [
    ({ nodeAddresses }, pick) => nodeAddresses.delete(some(nodeAddresses, pick)?.[0] ?? ""),
    ({ nodeAddresses }) => {
      if (nodeAddresses.has("203.0.113.250")) return false;
      nodeAddresses.set("203.0.113.250", [addressBytes("203.0.113.250"), 3]);
      return true;
    },
  ],
  "address-bits": [
    ({ bits }, pick) => {
      const words = new Uint32Array(bits);
      const used = [...words.keys()].filter((i) => words[i] !== 0);
      if (used.length === 0) return false;
      words[used[pick(used.length)] ?? 0] = 0;
      return true;
    },
  ],
};

/** Does one damage and says of what kind; null if there was nothing to damage that way. */
export function damage(memory: MemoryState, pick: Random): MapDamage | null {
  const kinds = Object.keys(HANDS) as (keyof typeof HANDS)[];
  const kind = kinds[pick(kinds.length)] ?? "name";
  const hands = HANDS[kind];
  return hands[pick(hands.length)]?.(memory, pick) === true ? kind : null;
}
