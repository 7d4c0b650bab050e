// SPDX-License-Identifier: Apache-2.0
// What is a well-formed value in either kind of configuration: addresses, prefixes, sources, and the schema pieces of them.

import { isIP, isIPv4, isIPv6 } from "node:net";
import * as v from "valibot";

/** "10.0.0.0/8", "fd00::/8". */
export function isCidr(text: string): boolean {
  const [address = "", bits = "", ...rest] = text.split("/");
  const family = isAddress(address) ? isIP(address) : 0;
  return (
    family !== 0 && rest.length === 0 && /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)
  );
}

/** "kubernetes" or "dir:PATH". */
export function isSource(text: string): boolean {
  return text === "kubernetes" || (text.startsWith("dir:") && text.length > "dir:".length);
}

/** An address a program may be told: no zone. */
export const isAddress = (text: string): boolean => isIPv4(text) || (isIPv6(text) && !text.includes("%"));

/** The two halves of "10.0.0.1:80" or "[fd00::1]:80", where an IPv4 address may stand in brackets, too; null if it is neither. */
export function splitHostPort(text: string): { readonly host: string; readonly port: number } | null {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3]);
  return isIP(host) !== 0 && port <= 65_535 ? { host, port } : null;
}

/** "[fd00::1]:80", "10.0.0.1:80". */
export const joinHostPort = (host: string, port: number): string =>
  isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;

/** "IP:port" of a server; a bare address gets `port`, and what is neither stays as it is. */
export const withPort = (text: string, port: number): string => (isAddress(text) ? joinHostPort(text, port) : text);

/** An "IP:port" that a server can listen on; `leastPort` 0: port 0, any free one, will do too. */
export function isListenAddress(text: string, leastPort = 1): boolean {
  const parts = splitHostPort(text);
  return parts !== null && parts.port >= leastPort;
}

export const whole = (least: number, most: number) =>
  v.pipe(
    v.number(),
    v.integer("must be a whole number"),
    v.minValue(least, `must be ${least} or more`),
    v.maxValue(most, `must be ${most} or less`),
  );

/** What 64 bits of nanoseconds hold, as Go's durations are. */
const MOST_SECONDS = 9_223_372_036;

/** Seconds, fractions too. */
export const seconds = (least: number, most = MOST_SECONDS) =>
  v.pipe(
    v.number(),
    v.minValue(least, least === 0 ? "must not be negative" : `must be ${least} or more`),
    v.maxValue(most, `must be ${most} or less`),
  );

export const absolutePath = v.pipe(v.string(), v.startsWith("/", "must be an absolute path"));
export const cidr = v.pipe(v.string(), v.check(isCidr, 'must be a CIDR, as "10.0.0.0/8"'));
export const address = v.pipe(v.string(), v.check(isAddress, "must be an IP address"));
