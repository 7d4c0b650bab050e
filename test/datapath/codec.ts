// SPDX-License-Identifier: Apache-2.0
// Structs of bpf/types.h as bytes, member by member, by what the object's BTF says of them.

import type { Btf, BtfMember } from "libbpf-ts";

export type Fields = Readonly<Record<string, number | bigint | Uint8Array>>;

/** One decoded struct; asking for a member that it does not have is an error. */
export interface Decoded {
  number(member: string): number;
  bigint(member: string): bigint;
  bytes(member: string): Uint8Array;
}

export class Codec {
  readonly size: number;
  readonly #members: ReadonlyMap<string, BtfMember>;
  readonly #name: string;

  constructor(btf: Btf, name: string) {
    const struct = btf.struct(name);
    if (struct === null) throw new Error(`no struct ${name} in the BTF`);
    this.#name = name;
    this.size = struct.size;
    this.#members = new Map(struct.members.map((member) => [member.name, member]));
  }

  /** Members that are not named are zero. */
  encode(fields: Fields): Uint8Array {
    const bytes = new Uint8Array(this.size);
    for (const [name, value] of Object.entries(fields)) {
      const { offset, size } = this.#member(name);
      if (value instanceof Uint8Array) bytes.set(value, offset);
      else for (let i = 0; i < size; i++) bytes[offset + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
    }
    return bytes;
  }

  decode(bytes: Uint8Array): Decoded {
    const slice = (name: string): Uint8Array => {
      const { offset, size } = this.#member(name);
      return bytes.slice(offset, offset + size);
    };
    const bigint = (name: string): bigint => slice(name).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    return { bytes: slice, bigint, number: (name) => Number(bigint(name)) };
  }

  #member(name: string): BtfMember {
    const member = this.#members.get(name);
    if (member === undefined) throw new Error(`struct ${this.#name} has no member ${name}`);
    return member;
  }
}

/** 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  if (!text.includes(":")) {
    bytes.set([255, 255, ...text.split(".").map(Number)], 10);
    return bytes;
  }
  const [head = "", tail] = text.split("::");
  const groups = (part: string | undefined): number[] =>
    (part ?? "").split(":").flatMap((group) => (group === "" ? [] : [Number.parseInt(group, 16)]));
  const left = groups(head);
  const right = groups(tail);
  const all = tail === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill(0), ...right];
  all.forEach((group: number, i) => {
    bytes.set([group >> 8, group & 255], 2 * i);
  });
  return bytes;
}
