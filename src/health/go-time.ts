// SPDX-License-Identifier: Apache-2.0
// Times as Go writes them into JSON: RFC 3339 in the zone of this process, a fraction only as long as it has to be.

/** "2026-07-01T12:00:00.25+02:00", or with "Z". `unixMs`: wall clock. */
export function goTime(unixMs: number): string {
  const east = -new Date(unixMs).getTimezoneOffset();
  const iso = new Date(unixMs + east * 60_000).toISOString();
  const seconds = iso.slice(0, "2026-07-01T12:00:00".length);
  const fraction = iso.slice(seconds.length, -1).replace(/\.?0+$/, "");
  return seconds + fraction + zone(east);
}

function zone(minutesEast: number): string {
  if (minutesEast === 0) return "Z";
  const minutes = Math.abs(minutesEast);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${minutesEast < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
