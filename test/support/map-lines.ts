// SPDX-License-Identifier: Apache-2.0
// What the maps serve, read as a program reads them (row, word, slots, backends), in the lines of scenario.ts.

import { ENDPOINT_STRIDE, type FrontendRole, type UnitRanges } from "../../src/compile/unit.ts";
import { parseExtentWord } from "../../src/datapath/extent.ts";
import { ALGORITHM, BACKEND, FRONTEND } from "../../src/datapath/layout.ts";
import type { FrontendRow, MapPort, NameRow } from "../../src/datapath/port.ts";
import { familyOf, formatAddress } from "../../src/model/address.ts";
import type { Protocol } from "../../src/model/types.ts";
import { isRetired } from "../../src/program/backend-book.ts";
import { rolesOf } from "../../src/program/frontend-table.ts";
import { prefixText } from "../../src/program/source-ranges.ts";
import { formatLine, place } from "./scenario.ts";

export type SetBit = 1 | 2;

/** Backend ids that the word of a set leads to. */
export function pickable(port: MapPort, serviceId: number, bit: SetBit): Uint32Array {
  const row = port.service(serviceId);
  const { base, count } = parseExtentWord(bit === BACKEND.CLUSTER ? row.cluster : row.local);
  return port.slots(base, count);
}

/** Whether a lookup through the service and set may use the backend. */
export function isMember(port: MapPort, id: number, serviceId: number, bit: SetBit): boolean {
  return (
    (port.backendFlags(id) & bit) !== 0 &&
    port.backendService(id) === serviceId &&
    !isRetired(port.backendGeneration(id))
  );
}

export function endpointText(port: MapPort, id: number): string {
  const { address, port: number } = port.backend(id);
  return place(formatAddress(address), number);
}

function inOrder(port: MapPort, ids: Iterable<number>): string[] {
  const rows = [...ids].map((id) => {
    const bytes = new Uint8Array(ENDPOINT_STRIDE);
    port.copyEndpoint(id, bytes, 0);
    const text = endpointText(port, id) + ((bytes[18] ?? 0) & BACKEND.SERVING ? "" : "!");
    return { bytes, text, dead: (bytes[18] ?? 0) === 0 };
  });
  rows.sort((a, b) => Buffer.compare(a.bytes.subarray(0, 18), b.bytes.subarray(0, 18)));
  return rows.map(({ text, dead }) => (dead ? `dead ${text}` : text));
}

function setOf(port: MapPort, serviceId: number, bit: SetBit): string[] | "reject" | "drop" {
  const row = port.service(serviceId);
  const { count, algorithm } = parseExtentWord(bit === BACKEND.CLUSTER ? row.cluster : row.local);
  if (count === 0) return algorithm === ALGORITHM.DROP ? "drop" : "reject";
  return inOrder(port, pickable(port, serviceId, bit));
}

function linesOf(port: MapPort, row: FrontendRow, name: NameRow | undefined): string[] {
  const { serviceId, flags } = row;
  const serving = [...port.usedBackends()].filter(
    (id) => port.backendService(id) === serviceId && port.backendFlags(id) === BACKEND.SERVING,
  );
  return rolesOf(flags).map((role: FrontendRole) =>
    formatLine({
      name: name?.name ?? `nameless ${serviceId}`,
      protocol: row.protocol as Protocol,
      family: familyOf(row.address),
      frontend: {
        role,
        address: formatAddress(row.address),
        port: row.port,
        internalLocal: role === "clusterIP" && (flags & FRONTEND.INTERNAL_LOCAL) !== 0,
        externalLocal: role !== "clusterIP" && (flags & FRONTEND.EXTERNAL_LOCAL) !== 0,
      },
      cluster: setOf(port, serviceId, BACKEND.CLUSTER),
      local: setOf(port, serviceId, BACKEND.LOCAL),
      draining: inOrder(port, serving),
      affinitySec: port.service(serviceId).affinitySec,
      sourceRanges: rangesOf(port, row),
    }),
  );
}

/** What the row and the trie say together; prefixes that no row demands are not told. */
function rangesOf(port: MapPort, { serviceId, flags }: FrontendRow): UnitRanges | null {
  if ((flags & FRONTEND.SOURCE_RANGES) === 0) return null;
  const prefixes = [...port.sourceRanges()].filter((range) => range.serviceId === serviceId).map(prefixText);
  return {
    allowHost: (flags & FRONTEND.ALLOW_HOST) !== 0,
    allowPods: (flags & FRONTEND.ALLOW_PODS) !== 0,
    prefixes: prefixes.sort(),
  };
}

/** Every row of the trie, by its service's name. */
export function rangeLines(port: MapPort): string[] {
  const names = new Map(port.names());
  return [...port.sourceRanges()]
    .map((range) => `${names.get(range.serviceId)?.name ?? range.serviceId} ${prefixText(range)}`)
    .sort();
}

/** The lines of the maps, sorted. */
export function mapLines(port: MapPort): string[] {
  const names = new Map(port.names());
  const rows = [...port.frontends()].filter(({ protocol }) => protocol !== 0);
  return rows.flatMap((row) => linesOf(port, row, names.get(row.serviceId))).sort();
}

/** Addresses with an "any port" row, sorted. */
export function anyPortLines(port: MapPort): string[] {
  const rows = [...port.frontends()].filter(({ protocol }) => protocol === 0);
  return rows
    .map(({ address, port: number, serviceId, flags }) => `${formatAddress(address)} ${number} ${serviceId} ${flags}`)
    .sort();
}

/** Every address that has a ClusterIP row, as anyPortLines() must list them. */
export function wantedAnyPorts(port: MapPort): string[] {
  const rows = [...port.frontends()].filter(
    ({ flags, protocol }) => protocol !== 0 && (flags & FRONTEND.CLUSTER_IP) !== 0,
  );
  return [...new Set(rows.map(({ address }) => `${formatAddress(address)} 0 0 ${FRONTEND.ANY_PORT}`))].sort();
}
