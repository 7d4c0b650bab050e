// SPDX-License-Identifier: Apache-2.0
// The IPv6 twin of a scenario: every IPv4 address and prefix in it turned into one of IPv6, everywhere, so that a rule
// told once is shown for both families. A file that names an IPv6 address itself, or says "twin: false", has none.

import { canonicalAddress } from "../../src/model/address.ts";

const ADDRESS = /\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b/;
const WHOLE = new RegExp(`^${ADDRESS.source}$`);
const PREFIX = new RegExp(`^${ADDRESS.source}/(\\d{1,2})$`);
/** In the text of lines: an address with a port is written in brackets. */
const IN_LINES = new RegExp(`${ADDRESS.source}(/\\d{1,2}(?!\\d)|:\\d+)?`, "g");
/** Where ClusterIPs come from, in either family. */
const SERVICES = { prefix: "10.96.", twin: "fd00:96::" } as const;

/** The same scenario in IPv6; null if the text has an IPv6 address already. */
export function twinOf(value: unknown, text: string): unknown {
  return text.includes("::") ? null : turn(value);
}

function turn(value: unknown): unknown {
  if (typeof value === "string") return turnText(value);
  if (Array.isArray(value)) return value.map(turn);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, turn(member)]));
}

function turnText(text: string): string {
  if (text === "IPv4") return "IPv6";
  if (WHOLE.test(text)) return turnAddress(text);
  if (PREFIX.test(text)) return turnPrefix(text);
  return text.replaceAll("over IPv4", "over IPv6").replace(IN_LINES, (found) => {
    if (found.includes("/")) return turnPrefix(found);
    const [address = "", port] = found.split(":");
    return port === undefined ? turnAddress(address) : `[${turnAddress(address)}]:${port}`;
  });
}

/** The digits of each octet as those of a group: 10.244.1.2 is fd00:10:244:1::2, and keeps its place in any order. */
function turnAddress(text: string): string {
  const [a = "", b = "", c = "", d = ""] = text.split(".");
  if (text === "0.0.0.0") return "::";
  if (text === "127.0.0.1") return "::1";
  if (text.startsWith("169.254.")) return canonical(`fe80::${c}:${d}`);
  if (a === "224") return canonical(`ff02::${d}`);
  if (text.startsWith(SERVICES.prefix)) return canonical(SERVICES.twin + (Number(c) * 256 + Number(d)).toString(16));
  return canonical(`fd00:${a}:${b}:${c}::${d}`);
}

function turnPrefix(text: string): string {
  const [address = "", length = ""] = text.split("/");
  if (length === "0") return "::/0";
  if (address.startsWith(SERVICES.prefix)) return `${turnAddress(address)}/${Number(length) + 96}`;
  if (Number(length) % 8 !== 0) throw new Error(`${text} has no IPv6 twin: only whole octets have`);
  return `${turnAddress(address)}/${length === "32" ? 128 : 16 + 2 * Number(length)}`;
}

function canonical(text: string): string {
  const address = canonicalAddress(text);
  if (address === null) throw new Error(`${text} is no address`);
  return address;
}
