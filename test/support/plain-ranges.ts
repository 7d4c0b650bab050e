// SPDX-License-Identifier: Apache-2.0
// Networks as numbers from-to, sharing no code with what is tested: is an address in one, do some cover another?

import { isIPv6 } from "node:net";

interface Span {
  readonly family: 4 | 6;
  readonly from: bigint;
  readonly to: bigint;
}

export function addressInRange(address: string, range: string): boolean {
  const { family, from, to } = spanOf(range);
  const number = numberOf(address);
  return family === (isIPv6(address) ? 6 : 4) && from <= number && number <= to;
}

export const isEverything = (range: string): boolean => range.endsWith("/0");

/** Whether the ranges, of the same family, together hold every address of `range`. */
export function coversRange(ranges: readonly string[], range: string): boolean {
  const whole = spanOf(range);
  let next = whole.from;
  for (const { from, to } of ranges.map(spanOf).sort((a, b) => (a.from < b.from ? -1 : 1))) {
    if (from > next) break;
    if (to >= next) next = to + 1n;
  }
  return next > whole.to;
}

function spanOf(range: string): Span {
  const [address = "", length = ""] = range.split("/");
  const family = isIPv6(address) ? 6 : 4;
  const size = 1n << BigInt((family === 6 ? 128 : 32) - Number(length));
  const from = (numberOf(address) / size) * size;
  return { family, from, to: from + size - 1n };
}

function numberOf(address: string): bigint {
  if (!isIPv6(address)) return address.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [head = "", tail] = address.split("::");
  const groups = (text: string): string[] => text.split(":").filter((group) => group !== "");
  const behind = groups(tail ?? "");
  const zeros = tail === undefined ? 0 : 8 - groups(head).length - behind.length;
  const all = [...groups(head), ...new Array<string>(zeros).fill("0"), ...behind];
  return all.reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}
