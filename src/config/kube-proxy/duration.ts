// SPDX-License-Identifier: Apache-2.0
// Go's durations: "1h30m0.5s" as seconds, and seconds written back the way Go writes them.

const NANOSECONDS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  "\u00b5s": 1_000n,
  "\u03bcs": 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** The longest that 64 bits of nanoseconds hold: 292 years. */
const LONGEST = 2n ** 63n;

const PARTS = /(\d*)(?:\.(\d*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g;

/** Seconds, exact to the nanosecond below a month; null if it is no duration. */
export function parseDuration(text: string): number | null {
  const match = /^([+-]?)((?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) return null;
  let total = 0n;
  for (const [, whole, fraction, unit] of (match[2] ?? "").matchAll(PARTS)) {
    const ns = NANOSECONDS[unit ?? ""] ?? 0n;
    const digits = fraction ?? "";
    total += BigInt(whole || 0) * ns + (BigInt(digits || 0) * ns) / 10n ** BigInt(digits.length);
  }
  const negative = match[1] === "-";
  if (total > LONGEST || (total === LONGEST && !negative)) return null;
  return Number(negative ? -total : total) / 1e9;
}

/** "1h0m0s", "1m30s", "1.5s", "100ms", "0s". */
export function formatDuration(sec: number): string {
  const ns = BigInt(Math.round(Math.abs(sec) * 1e9));
  const sign = sec < 0 && ns > 0n ? "-" : "";
  if (ns === 0n) return "0s";
  if (ns < 1_000n) return `${sign}${ns}ns`;
  if (ns < 1_000_000n) return `${sign}${decimal(ns, 1_000n)}\u00b5s`;
  if (ns < 1_000_000_000n) return `${sign}${decimal(ns, 1_000_000n)}ms`;
  const minutes = ns / 60_000_000_000n;
  const seconds = `${decimal(ns % 60_000_000_000n, 1_000_000_000n)}s`;
  if (minutes === 0n) return sign + seconds;
  return minutes < 60n ? `${sign}${minutes}m${seconds}` : `${sign}${minutes / 60n}h${minutes % 60n}m${seconds}`;
}

/** value / unit, without zeros at the end. */
function decimal(value: bigint, unit: bigint): string {
  const rest = value % unit;
  if (rest === 0n) return `${value / unit}`;
  const digits = `${unit + rest}`.slice(1).replace(/0+$/, "");
  return `${value / unit}.${digits}`;
}
