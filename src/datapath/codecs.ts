// SPDX-License-Identifier: Apache-2.0
// Keys and values of the hash maps, packed for batches: frontends, names, node addresses, source ranges. Native byte order.

import type { Family, Protocol } from "../model/types.ts";
import type { StoredFrontend } from "./audit-port.ts";
import { type Layout, RANGE_SERVICE_BITS } from "./layout.ts";
import type { FrontendKey, FrontendRow, NameRow, SourceRange } from "./port.ts";

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** A DataView over exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export class FrontendCodec {
  readonly #key: Layout<"frontend_key">;
  readonly #value: Layout<"frontend">;
  /** Where in a key nothing stands. */
  readonly #gaps: readonly number[];

  constructor(key: Layout<"frontend_key">, value: Layout<"frontend">) {
    this.#key = key;
    this.#value = value;
    const members = (Object.keys(key.at) as (keyof typeof key.at)[]).map(
      (name) => [key.at[name], key.bytes[name]] as const,
    );
    const inMember = (at: number): boolean => members.some(([start, bytes]) => at >= start && at < start + bytes);
    this.#gaps = Array.from({ length: key.size }, (_, at) => at).filter((at) => !inMember(at));
  }

  keys(rows: readonly FrontendKey[]): Uint8Array {
    const { size, at } = this.#key;
    const bytes = new Uint8Array(rows.length * size);
    const view = viewOf(bytes);
    rows.forEach((row, i) => {
      const start = i * size;
      for (let n = 0; n < 16; n++) bytes[start + at.addr + n] = row.address[n] ?? 0;
      view.setUint16(start + at.port, row.port, LITTLE);
      bytes[start + at.proto] = row.protocol;
    });
    return bytes;
  }

  values(rows: readonly FrontendRow[]): Uint8Array {
    const { size, at } = this.#value;
    const view = new DataView(new ArrayBuffer(rows.length * size));
    rows.forEach((row, i) => {
      view.setUint32(i * size + at.service_id, row.serviceId, LITTLE);
      view.setUint32(i * size + at.flags, row.flags, LITTLE);
    });
    return new Uint8Array(view.buffer);
  }

  /** Row i of packed keys and values. */
  decode(keys: Uint8Array, values: Uint8Array, i: number): FrontendRow {
    const key = i * this.#key.size;
    const value = i * this.#value.size;
    const keyView = viewOf(keys);
    const valueView = viewOf(values);
    return {
      address: keys.slice(key + this.#key.at.addr, key + this.#key.at.addr + 16),
      port: keyView.getUint16(key + this.#key.at.port, LITTLE),
      protocol: (keys[key + this.#key.at.proto] ?? 0) as Protocol | 0,
      serviceId: valueView.getUint32(value + this.#value.at.service_id, LITTLE),
      flags: valueView.getUint32(value + this.#value.at.flags, LITTLE),
    };
  }

  /** As decode, and whether it is a key of ours. */
  decodeStored(keys: Uint8Array, values: Uint8Array, i: number): StoredFrontend {
    const start = i * this.#key.size;
    const isStray = this.#gaps.some((at) => keys[start + at] !== 0);
    return { ...this.decode(keys, values, i), stray: isStray ? keys.slice(start, start + this.#key.size) : null };
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** As UTF-8 into out[start … end-1], cut there. Names of objects are ASCII, for which the encoder would be a detour. */
function writeText(text: string, out: Uint8Array, start: number, end: number): void {
  const length = Math.min(text.length, end - start);
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) {
      out.fill(0, start, end);
      encoder.encodeInto(text, out.subarray(start, end));
      return;
    }
    out[start + i] = code;
  }
}

/** pt_names: the key is the service id as a u32. */
export class NameCodec {
  readonly #value: Layout<"service_name">;

  constructor(value: Layout<"service_name">) {
    this.#value = value;
  }

  keys(ids: readonly number[]): Uint8Array {
    return new Uint8Array(Uint32Array.from(ids).buffer);
  }

  /** A name that is too long is cut: the last byte stays zero. */
  values(rows: readonly NameRow[]): Uint8Array {
    const { size, at, bytes } = this.#value;
    const out = new Uint8Array(rows.length * size);
    rows.forEach((row, i) => {
      out[i * size + at.family] = row.family;
      out[i * size + at.proto] = row.protocol;
      const start = i * size + at.name;
      writeText(row.name, out, start, start + bytes.name - 1);
    });
    return out;
  }

  decode(keys: Uint8Array, values: Uint8Array, i: number): readonly [number, NameRow] {
    const { size, at, bytes } = this.#value;
    const start = i * size + at.name;
    const end = values.indexOf(0, start);
    const name = decoder.decode(
      values.subarray(start, end < 0 ? start + bytes.name : Math.min(end, start + bytes.name)),
    );
    const family = (values[i * size + at.family] ?? 0) as Family;
    const protocol = (values[i * size + at.proto] ?? 0) as Protocol;
    return [viewOf(keys).getUint32(i * 4, LITTLE), { family, protocol, name }];
  }
}

/** pt_node_addrs. */
export class NodeAddressCodec {
  readonly #key: Layout<"node_addr_key">;
  readonly #value: Layout<"node_addr">;

  constructor(key: Layout<"node_addr_key">, value: Layout<"node_addr">) {
    this.#key = key;
    this.#value = value;
  }

  key(address: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.#key.size);
    bytes.set(address, this.#key.at.addr);
    return bytes;
  }

  value(flags: number): Uint8Array {
    const bytes = new Uint8Array(this.#value.size);
    viewOf(bytes).setUint32(this.#value.at.flags, flags, LITTLE);
    return bytes;
  }

  decode(key: Uint8Array, value: Uint8Array): readonly [Uint8Array, number] {
    const start = this.#key.at.addr;
    return [key.slice(start, start + 16), viewOf(value).getUint32(this.#value.at.flags, LITTLE)];
  }
}

/** pt_src_ranges. */
export class SourceRangeCodec {
  readonly #key: Layout<"src_range_key">;
  /** The one value there is. */
  readonly allowed: Uint8Array;

  constructor(key: Layout<"src_range_key">, value: Layout<"src_range">) {
    this.#key = key;
    this.allowed = new Uint8Array(value.size);
    this.allowed[value.at.allowed] = 1;
  }

  key({ serviceId, address, bits }: SourceRange): Uint8Array {
    const { size, at } = this.#key;
    const bytes = new Uint8Array(size);
    const view = viewOf(bytes);
    view.setUint32(at.prefixlen, RANGE_SERVICE_BITS + bits, LITTLE);
    view.setUint32(at.service_id, serviceId, LITTLE);
    bytes.set(address, at.addr);
    return bytes;
  }

  decode(key: Uint8Array): SourceRange {
    const { at } = this.#key;
    const view = viewOf(key);
    return {
      serviceId: view.getUint32(at.service_id, LITTLE),
      address: key.slice(at.addr, at.addr + 16),
      bits: view.getUint32(at.prefixlen, LITTLE) - RANGE_SERVICE_BITS,
    };
  }
}
