// SPDX-License-Identifier: Apache-2.0
// Numbers as Go reads and writes them, whose programs kube-proxy's files and flags were made for.

const INTEGER = /^[+-]?(?:0[xX](?:_?[\da-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?\d)*)$/;
const FLOAT = /^[+-]?(?:\d(?:_?\d)*\.?(?:\d(?:_?\d)*)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?$/;

/** "42", "-0x2a", "0b101", "017", "1_000"; null for what is none. */
export function goInteger(text: string): number | null {
  if (!INTEGER.test(text)) return null;
  const digits = text.replace(/^[+-]/, "").replaceAll("_", "");
  const value = Number(/^0\d/.test(digits) ? `0o${digits}` : digits);
  return text.startsWith("-") ? 0 - value : value;
}

/** "2.5", "1e3"; null for what is none, or beyond all bounds. */
export function goFloat(text: string): number | null {
  const value = FLOAT.test(text) ? Number(text.replaceAll("_", "")) : Number.NaN;
  return Number.isFinite(value) ? value + 0 : null;
}

/** The number that 32 bits make of this one, with no more digits than tell it from its neighbours; null beyond them. */
export function float32(value: number): number | null {
  const kept = Math.fround(value);
  if (!Number.isFinite(kept)) return null;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(kept.toPrecision(digits));
    if (Math.fround(short) === kept) return short;
  }
  return Number(kept.toPrecision(9));
}
