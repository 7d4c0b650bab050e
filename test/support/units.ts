// SPDX-License-Identifier: Apache-2.0
// Units made by hand for tests of the program stage.

import {
  ENDPOINT,
  ENDPOINT_STRIDE,
  type Frontend,
  type Unit,
  type UnitRanges,
  unitKey,
} from "../../src/compile/unit.ts";
import { addressBytes, familyOfText } from "../../src/model/address.ts";
import type { Family, Protocol } from "../../src/model/types.ts";

/** "10.1.0.1:80" or "[fd00::1]:80", with flags behind "/": c cluster, l local, s serving; "/cs" if left out. */
function packEndpoints(texts: readonly string[]): Uint8Array {
  const bytes = new Uint8Array(texts.length * ENDPOINT_STRIDE);
  texts.forEach((text, i) => {
    const [where = "", letters = "cs"] = text.split("/");
    const colon = where.lastIndexOf(":");
    const port = Number(where.slice(colon + 1));
    const at = i * ENDPOINT_STRIDE;
    bytes.set(addressBytes(where.slice(0, colon).replace(/^\[|\]$/g, "")), at);
    bytes[at + 16] = port >> 8;
    bytes[at + 17] = port & 0xff;
    bytes[at + 18] =
      (letters.includes("c") ? ENDPOINT.CLUSTER : 0) |
      (letters.includes("l") ? ENDPOINT.LOCAL : 0) |
      (letters.includes("s") ? ENDPOINT.SERVING : 0);
  });
  return sorted(bytes);
}

function sorted(bytes: Uint8Array): Uint8Array {
  const rows = Array.from({ length: bytes.length / ENDPOINT_STRIDE }, (_, i) =>
    bytes.slice(i * ENDPOINT_STRIDE, (i + 1) * ENDPOINT_STRIDE),
  );
  rows.sort((a, b) => Buffer.compare(a.subarray(0, 18), b.subarray(0, 18)));
  const out = new Uint8Array(bytes.length);
  rows.forEach((row, i) => {
    out.set(row, i * ENDPOINT_STRIDE);
  });
  return out;
}

export interface UnitText {
  readonly name: string;
  readonly clusterIp?: string;
  readonly port?: number;
  readonly protocol?: Protocol;
  readonly family?: Family;
  readonly endpoints?: readonly string[];
  readonly frontends?: readonly Frontend[];
  readonly emptyLocal?: "reject" | "drop";
  readonly affinitySec?: number;
  readonly sourceRanges?: UnitRanges | null;
}

export function frontend(role: Frontend["role"], address: string, port: number, local = false): Frontend {
  return {
    role,
    address,
    port,
    internalLocal: local && role === "clusterIP",
    externalLocal: local && role !== "clusterIP",
  };
}

export function makeUnit(text: UnitText): Unit {
  const { name, clusterIp, port = 80, protocol = 6, endpoints = [], emptyLocal = "reject", affinitySec = 0 } = text;
  const family = text.family ?? familyOfText(clusterIp ?? "10.0.0.1");
  const own = clusterIp === undefined ? [] : [frontend("clusterIP", clusterIp, port)];
  const colon = name.lastIndexOf(":");
  return {
    key: unitKey(name, protocol, family),
    service: colon < 0 ? name : name.slice(0, colon),
    name,
    family,
    protocol,
    frontends: [...own, ...(text.frontends ?? [])],
    endpoints: packEndpoints(endpoints),
    emptyLocal,
    affinitySec,
    sourceRanges: text.sourceRanges ?? null,
  };
}
