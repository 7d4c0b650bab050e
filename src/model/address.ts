// SPDX-License-Identifier: Apache-2.0
// IP addresses and prefixes as the maps hold them: 16 bytes, IPv4 as ::ffff:a.b.c.d. Strict parsers, RFC 5952 text,
// keys, containment, and which addresses no Service may use. Text of an IPv6 address that is written v4-mapped
// is family 6 with IPv4's bytes: (family 6, isIpv4Bytes) tells it from real IPv4.

import type { Family } from "./types.ts";

export const ADDRESS_BYTES = 16;

const DOT = 46;
const ZERO = 48;
const COLON = 58;

/**
 * Parses an IPv4 or IPv6 address into out[offset … offset+15]; no zone, no leading zero in IPv4, no white space.
 * Returns the family of the text, or 0 if it is no address (out is then undefined).
 */
export function parseAddress(text: string, out: Uint8Array, offset = 0): Family | 0 {
  for (let i = 0; i < text.length && i < 5; i++) {
    const c = text.charCodeAt(i);
    if (c === COLON) return parseIpv6(text, out, offset) ? 6 : 0;
    if (c === DOT) break;
  }
  if (!parseIpv4(text, 0, out, offset + 12)) return 0;
  out.fill(0, offset, offset + 10);
  out[offset + 10] = 0xff;
  out[offset + 11] = 0xff;
  return 4;
}

/** Dotted quad from text[start] to its end into 4 bytes at out[at]. */
function parseIpv4(text: string, start: number, out: Uint8Array, at: number): boolean {
  let value = -1;
  let part = 0;
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === DOT) {
      if (value < 0 || part === 3) return false;
      out[at + part++] = value;
      value = -1;
      continue;
    }
    const digit = c - ZERO;
    if (digit < 0 || digit > 9 || value === 0) return false;
    value = value < 0 ? digit : value * 10 + digit;
    if (value > 255) return false;
  }
  if (value < 0 || part !== 3) return false;
  out[at + 3] = value;
  return true;
}

/** Value of a hexadecimal digit's char code, or -1; also for NaN, which charCodeAt gives behind the end. */
function hexDigit(c: number): number {
  if (c >= ZERO && c <= 57) return c - ZERO;
  const lower = c | 0x20;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function parseIpv6(text: string, out: Uint8Array, offset: number): boolean {
  const end = text.length;
  let bytes = 0;
  let gap = -1;
  let i = 0;
  if (text.startsWith("::")) {
    gap = 0;
    i = 2;
  }
  while (i < end) {
    if (bytes === ADDRESS_BYTES) return false;
    const start = i;
    let group = 0;
    for (let digit = hexDigit(text.charCodeAt(i)); digit >= 0; digit = hexDigit(text.charCodeAt(++i))) {
      group = (group << 4) | digit;
    }
    if (text.charCodeAt(i) === DOT) {
      if (bytes > 12 || !parseIpv4(text, start, out, offset + bytes)) return false;
      bytes += 4;
      break;
    }
    if (i === start || i - start > 4) return false;
    out[offset + bytes] = group >> 8;
    out[offset + bytes + 1] = group & 0xff;
    bytes += 2;
    if (i === end) break;
    if (text.charCodeAt(i) !== COLON || i + 1 === end) return false;
    i++;
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false;
      gap = bytes;
      i++;
    }
  }
  return expandGap(out, offset, bytes, gap);
}

/** Moves what stands behind "::" to the end and fills the gap, which must be one group or more. */
function expandGap(out: Uint8Array, offset: number, bytes: number, gap: number): boolean {
  if (gap < 0) return bytes === ADDRESS_BYTES;
  if (bytes === ADDRESS_BYTES) return false;
  out.copyWithin(offset + ADDRESS_BYTES - (bytes - gap), offset + gap, offset + bytes);
  out.fill(0, offset + gap, offset + ADDRESS_BYTES - (bytes - gap));
  return true;
}

/** True if the 16 bytes are IPv4's form ::ffff:a.b.c.d. */
export function isIpv4Bytes(bytes: Uint8Array, offset = 0): boolean {
  if (bytes[offset + 10] !== 0xff || bytes[offset + 11] !== 0xff) return false;
  for (let i = offset; i < offset + 10; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Family that 16 bytes belong to in the maps: IPv4's form is 4, all else 6. */
export function familyOf(bytes: Uint8Array, offset = 0): Family {
  return isIpv4Bytes(bytes, offset) ? 4 : 6;
}

/**
 * Canonical text (RFC 5952) of 16 bytes. family 6 with IPv4's bytes gives "::ffff:a.b.c.d"; left out, the bytes decide.
 */
export function formatAddress(bytes: Uint8Array, offset = 0, family: Family = familyOf(bytes, offset)): string {
  if (isIpv4Bytes(bytes, offset)) {
    const quad = `${bytes[offset + 12]}.${bytes[offset + 13]}.${bytes[offset + 14]}.${bytes[offset + 15]}`;
    return family === 4 ? quad : `::ffff:${quad}`;
  }
  const { start, length } = longestZeroRun(bytes, offset);
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === start) {
      text += "::";
      group += length - 1;
      continue;
    }
    if (text !== "" && !text.endsWith(":")) text += ":";
    text += groupAt(bytes, offset, group).toString(16);
  }
  return text;
}

function groupAt(bytes: Uint8Array, offset: number, group: number): number {
  return ((bytes[offset + 2 * group] ?? 0) << 8) | (bytes[offset + 2 * group + 1] ?? 0);
}

/** First of the longest runs of two or more zero groups; start -1 if there is none. */
function longestZeroRun(bytes: Uint8Array, offset: number): { start: number; length: number } {
  let start = -1;
  let length = 1;
  for (let group = 0; group < 8; group++) {
    let run = 0;
    while (group + run < 8 && groupAt(bytes, offset, group + run) === 0) run++;
    if (run > length) {
      start = group;
      length = run;
    }
    group += run;
  }
  return { start, length };
}

/** Canonical text of an address in any valid spelling, or null. "::FFFF:10.0.0.1" stays IPv6: "::ffff:10.0.0.1". */
export function canonicalAddress(text: string): string | null {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  const family = parseAddress(text, bytes);
  return family === 0 ? null : formatAddress(bytes, 0, family);
}

/** The 16 bytes of an address known to be valid (canonical text in the model); throws RangeError if it is not. */
export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  if (parseAddress(text, bytes) === 0) throw new RangeError(`${JSON.stringify(text)} is not an IP address`);
  return bytes;
}

/** Family of canonical text (not validated). */
export function familyOfText(text: string): Family {
  return text.includes(":") ? 6 : 4;
}

/** A key for Map and Set, equal exactly for equal bytes: a signed 32-bit number for IPv4, eight UTF-16 units else. */
export type AddressKey = number | string;

export function addressKey(bytes: Uint8Array, offset = 0): AddressKey {
  if (isIpv4Bytes(bytes, offset)) return (groupAt(bytes, offset, 6) << 16) | groupAt(bytes, offset, 7);
  return String.fromCharCode(
    groupAt(bytes, offset, 0),
    groupAt(bytes, offset, 1),
    groupAt(bytes, offset, 2),
    groupAt(bytes, offset, 3),
    groupAt(bytes, offset, 4),
    groupAt(bytes, offset, 5),
    groupAt(bytes, offset, 6),
    groupAt(bytes, offset, 7),
  );
}

/** A prefix; host bits of bytes are zero. */
export interface Cidr {
  readonly family: Family;
  /** 16 bytes. */
  readonly bytes: Uint8Array;
  /** In bits of the 16 bytes: an IPv4 /8 is 104. */
  readonly bits: number;
}

/** Parses "10.0.0.0/8" or "fd00::/8"; host bits are cleared as Go's ParseCIDR does. null if it is no prefix. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.lastIndexOf("/");
  const length = prefixLength(text, slash + 1);
  if (slash < 0 || length < 0) return null;
  const bytes = new Uint8Array(ADDRESS_BYTES);
  const family = parseAddress(text.slice(0, slash), bytes);
  if (family === 0 || length > (family === 4 ? 32 : 128)) return null;
  const bits = family === 4 ? length + 96 : length;
  for (let i = 0; i < ADDRESS_BYTES; i++) bytes[i] = (bytes[i] ?? 0) & byteMask(bits, i);
  return { family, bytes, bits };
}

/** Up to three digits from text[start] to its end, no leading zero; -1 if they are not. */
function prefixLength(text: string, start: number): number {
  const digits = text.length - start;
  if (digits < 1 || digits > 3 || (digits > 1 && text.charCodeAt(start) === ZERO)) return -1;
  let value = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** The bits of byte i that a prefix of so many bits covers. */
function byteMask(bits: number, i: number): number {
  const covered = Math.min(8, Math.max(0, bits - 8 * i));
  return (0xff00 >> covered) & 0xff;
}

/** Canonical text: "10.0.0.0/8". */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.bytes, 0, cidr.family)}/${cidr.family === 4 ? cidr.bits - 96 : cidr.bits}`;
}

/** Whether the prefix holds the address. Families do not mix: ::/0 holds no IPv4 address. */
export function cidrContains(cidr: Cidr, bytes: Uint8Array, offset = 0): boolean {
  if (familyOf(bytes, offset) !== cidr.family) return false;
  // Of IPv4 the first twelve bytes have been compared with that.
  for (let i = cidr.family === 4 ? 12 : 0; i < ADDRESS_BYTES && cidr.bits > 8 * i; i++) {
    if (((bytes[offset + i] ?? 0) & byteMask(cidr.bits, i)) !== cidr.bytes[i]) return false;
  }
  return true;
}

/** Why an address can be nobody's Service or endpoint. */
export type SpecialAddress = "unspecified" | "loopback" | "link-local" | "multicast" | "reserved" | "v4-mapped";

/**
 * 0/8 and :: · 127/8 and ::1 · 169.254/16 and fe80::/10 · 224/4 and ff00::/8 · 240/4 · IPv6 (by family) in IPv4's form;
 * null for every other address.
 */
export function specialAddress(bytes: Uint8Array, offset: number, family: Family): SpecialAddress | null {
  if (isIpv4Bytes(bytes, offset)) {
    return family === 6 ? "v4-mapped" : specialIpv4(bytes[offset + 12] ?? 0, bytes[offset + 13] ?? 0);
  }
  const first = bytes[offset] ?? 0;
  if (first === 0xff) return "multicast";
  if (first === 0xfe && ((bytes[offset + 1] ?? 0) & 0xc0) === 0x80) return "link-local";
  for (let i = offset; i < offset + 15; i++) if (bytes[i] !== 0) return null;
  const last = bytes[offset + 15];
  if (last === 0) return "unspecified";
  return last === 1 ? "loopback" : null;
}

function specialIpv4(first: number, second: number): SpecialAddress | null {
  if (first === 0) return "unspecified";
  if (first === 127) return "loopback";
  if (first === 169 && second === 254) return "link-local";
  if (first >= 240) return "reserved";
  return first >= 224 ? "multicast" : null;
}
