// SPDX-License-Identifier: Apache-2.0
// Any pinned map as rows that people and JSON can read: decoded by the map's own BTF, so it also shows maps of another
// version; addresses as text, flags by name, extent words split. Empty elements of arrays are left out.

import { type BpfMap, type Btf, type BtfMember, MapFlags } from "libbpf-ts";
import { familyOf, formatAddress, formatCidr } from "../model/address.ts";
import { viewOf } from "./codecs.ts";
import { parseExtentWord } from "./extent.ts";
import { AFFINITY, ALGORITHM, BACKEND, FRONTEND, NODE_ADDR, RANGE_SERVICE_BITS, SOCKET } from "./layout.ts";
import { readStats } from "./stats.ts";

export type DumpValue = number | string | boolean | readonly DumpValue[] | { readonly [member: string]: DumpValue };
export interface DumpRow {
  readonly key: DumpValue;
  readonly value: DumpValue;
}

const FLAG_NAMES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  frontend: FRONTEND,
  backend: BACKEND,
  node_addr: NODE_ADDR,
  socket_record: SOCKET,
};
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 0: "any", 6: "TCP", 17: "UDP", 132: "SCTP" };
const HIDDEN = /^(pad|reserved)\d*$/;

/** Rows of one map, hashes in their own order. Throws Error where the kernel cannot list a map (socket storage). */
export function* dumpMap(map: BpfMap, name: string, btf: Btf): Generator<DumpRow> {
  const { type, flags } = map.info;
  if (type === "sk_storage") throw new Error(`${name} lives in the sockets themselves: the kernel cannot list it`);
  if (type === "percpu_array") {
    for (const [reason, count] of readStats(map, btf)) yield { key: reason, value: toJson(count) };
    return;
  }
  const types = btf.mapTypes(name);
  const decode = (side: "key" | "value", bytes: Uint8Array): DumpValue =>
    decodeStruct(btf, types?.[side] ?? null, bytes);
  if (type === "array" && (flags & MapFlags.MMAPABLE) !== 0) {
    for (const [index, bytes] of elements(map)) yield { key: index, value: decode("value", bytes) };
    return;
  }
  for (const [key, value] of map.entries()) yield { key: decode("key", key), value: decode("value", value) };
}

/** Elements with a byte that is not zero. */
function* elements(map: BpfMap): Generator<readonly [number, Uint8Array]> {
  using view = map.mmap({ readOnly: true });
  const words = new Uint32Array(view.buffer);
  const step = view.elementSize >> 2;
  const { maxEntries, valueSize } = map.info; // a system call
  for (let index = 0; index < maxEntries; index++) {
    let used = false;
    for (let word = index * step; word < (index + 1) * step && !used; word++) used = words[word] !== 0;
    if (used) yield [index, new Uint8Array(view.buffer, index * view.elementSize, valueSize).slice()];
  }
}

function decodeStruct(btf: Btf, struct: string | null, bytes: Uint8Array): DumpValue {
  const found = struct === null ? null : btf.struct(struct);
  if (found === null) return decodePlain(bytes);
  const row: Record<string, DumpValue> = {};
  for (const member of found.members) {
    if (HIDDEN.test(member.name)) continue;
    row[member.name] = refine(found.name, member.name, decodeMember(member, bytes));
  }
  if (found.name === "affinity_key") refineClient(row, bytes);
  if (found.name === "src_range_key") return refineRange(row, bytes);
  return row;
}

/** A key without a struct: an index, or bytes. */
function decodePlain(bytes: Uint8Array): DumpValue {
  return bytes.length === 4 ? viewOf(bytes).getUint32(0, true) : [...bytes];
}

function decodeMember({ name, offset, size, type, elements: count }: BtfMember, bytes: Uint8Array): DumpValue {
  if (size === 16 && count === 16 && type !== "char") return formatAddress(bytes, offset);
  if (count === null) return readInteger(bytes, offset, size);
  if (type === "char" || name === "name") return readText(bytes.subarray(offset, offset + size));
  const width = size / count;
  return Array.from({ length: count }, (_, i) => readInteger(bytes, offset + i * width, width));
}

function readInteger(bytes: Uint8Array, offset: number, size: number): number | string {
  const view = viewOf(bytes);
  if (size === 1) return view.getUint8(offset);
  if (size === 2) return view.getUint16(offset, true);
  if (size === 4) return view.getUint32(offset, true);
  return toJson(view.getBigUint64(offset, true));
}

/** A number where JSON can hold it exactly, else decimal text. */
function toJson(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function refine(struct: string, member: string, value: DumpValue): DumpValue {
  if (member === "proto" && typeof value === "number") return PROTOCOL_NAMES[value] ?? value;
  const names = member === "flags" ? FLAG_NAMES[struct] : undefined;
  if (names !== undefined && typeof value === "number") return flagNames(names, value);
  if (struct === "service" && (member === "cluster" || member === "local")) {
    const { base, count, algorithm } = parseExtentWord(BigInt(value as number | string));
    return { base, count, algorithm: nameOf(ALGORITHM, algorithm) ?? algorithm };
  }
  if (struct === "slot_page" && Array.isArray(value)) return value.slice(0, value.findLastIndex((id) => id !== 0) + 1);
  return value;
}

/** A network namespace's cookie stands in the bytes of an address. */
function refineClient(row: Record<string, DumpValue>, bytes: Uint8Array): void {
  if (row["kind"] === AFFINITY.NETNS) row["client"] = `netns ${viewOf(bytes).getBigUint64(0, true)}`;
  row["kind"] = nameOf(AFFINITY, Number(row["kind"])) ?? row["kind"] ?? 0;
}

/** A prefix as people write it; one that is shorter than a service id as it is. */
function refineRange(row: Record<string, DumpValue>, key: Uint8Array): DumpValue {
  const bits = Number(row["prefixlen"]) - RANGE_SERVICE_BITS;
  if (bits < 0) return row;
  const bytes = key.subarray(-16);
  const family = bits < 96 ? 6 : familyOf(bytes);
  return { service_id: row["service_id"] ?? 0, prefix: formatCidr({ family, bytes, bits }) };
}

function flagNames(names: Readonly<Record<string, number>>, flags: number): DumpValue[] {
  const known = Object.entries(names).filter(([, bit]) => (flags & bit) !== 0);
  const rest = known.reduce((left, [, bit]) => left & ~bit, flags);
  return [...known.map(([name]) => name.toLowerCase()), ...(rest === 0 ? [] : [rest])];
}

function nameOf(names: Readonly<Record<string, number>>, value: number): string | null {
  return (
    Object.entries(names)
      .find(([, number]) => number === value)?.[0]
      .toLowerCase() ?? null
  );
}
