// SPDX-License-Identifier: Apache-2.0
// Source ranges as lookups find them between any two stores: by readers that read row and trie now, and by slow ones
// that read their row before. A caller that was admitted and will be is never turned away, nor one let in that neither
// the old ranges nor the new ones admit.

import { FRONTEND } from "../../src/datapath/layout.ts";
import type { MapPort } from "../../src/datapath/port.ts";
import { addressBytes, cidrContains, parseCidr } from "../../src/model/address.ts";
import { prefixText } from "../../src/program/source-ranges.ts";
import { frontendText } from "./memory-maps.ts";

/** Prefixes that histories are made of, and callers on either side of their edges; "host" and "pods" are not bound. */
export const PREFIXES = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "203.0.113.3/32"] as const;
const SOURCES = ["10.1.2.3", "10.9.9.9", "192.0.2.77", "203.0.113.3", "198.51.100.1"] as const;
const CALLERS: readonly string[] = ["host", "pods", ...SOURCES];

interface Row {
  readonly serviceId: number;
  readonly flags: number;
}
interface Entry {
  readonly unit: string;
  readonly admitted: ReadonlySet<string>;
}
/** Who is admitted, by frontend. */
export type Admissions = ReadonlyMap<string, Entry>;

/** A row that some reader has read. */
interface HeldRow extends Row {
  readonly frontend: string;
  /** What the frontend stood for since: one for each table that was or was to be. */
  readonly entries: (Entry | undefined)[];
  endedAt: number | null;
}

export class RangeGuard {
  readonly #port: MapPort;
  #before: Admissions = new Map();
  #after: Admissions = new Map();
  #excused: (frontend: string) => boolean = () => false;
  #held: HeldRow[] = [];

  constructor(port: MapPort) {
    this.#port = port;
    this.#followRows(0);
  }

  /** From now on callers may find what is there now or what `after` says. */
  expect(after: Admissions, excused: (frontend: string) => boolean): void {
    this.#before = readAdmissions(this.#port);
    this.#after = after;
    this.#excused = excused;
    for (const held of this.#held) held.entries.push(this.#before.get(held.frontend), after.get(held.frontend));
  }

  /** Throws for the first caller that is led astray. */
  check(store: number): void {
    this.#followRows(store);
    for (const [frontend, { unit, admitted }] of readAdmissions(this.#port)) {
      const sides = [this.#before.get(frontend), this.#after.get(frontend)];
      if (sides.every((side) => side?.unit === unit)) this.#compare(frontend, admitted, sides);
    }
    for (const { frontend, entries, ...row } of this.#held) {
      const unit = unitOf(this.#port, row.serviceId);
      const steady = entries.length > 0 && entries.every((entry) => entry?.unit === unit);
      if (steady) this.#compare(frontend, admittedBy(this.#port, row), entries);
    }
  }

  /** Readers of before `begin` are gone. */
  passed(begin: number): void {
    this.#held = this.#held.filter(({ endedAt }) => endedAt === null || endedAt > begin);
  }

  #compare(frontend: string, is: ReadonlySet<string>, may: readonly (Entry | undefined)[]): void {
    if (this.#excused(frontend)) return;
    for (const caller of CALLERS) {
      const answers = may.map((entry) => entry?.admitted.has(caller));
      if (!answers.includes(is.has(caller))) {
        throw new Error(`${frontend} ${is.has(caller) ? "lets in" : "turns away"} ${caller}`);
      }
    }
  }

  #followRows(store: number): void {
    const now = new Map([...this.#port.frontends()].map((row) => [frontendText(row), row]));
    for (const held of this.#held) {
      const row = now.get(held.frontend);
      const same = row?.serviceId === held.serviceId && row.flags === held.flags;
      if (held.endedAt === null && !same) held.endedAt = store;
      if (held.endedAt === null) now.delete(held.frontend);
    }
    for (const [frontend, { serviceId, flags }] of now) {
      const unit = unitOf(this.#port, serviceId);
      const sides = [this.#before.get(frontend), this.#after.get(frontend)];
      const entries = sides.filter((side) => side?.unit === unit);
      this.#held.push({ frontend, serviceId, flags, entries, endedAt: null });
    }
  }
}

export function readAdmissions(port: MapPort): Admissions {
  const rows = [...port.frontends()].filter(({ flags }) => (flags & FRONTEND.LOAD_BALANCER) !== 0);
  return new Map(
    rows.map((row) => [frontendText(row), { unit: unitOf(port, row.serviceId), admitted: admittedBy(port, row) }]),
  );
}

function unitOf(port: MapPort, serviceId: number): string {
  const name = new Map(port.names()).get(serviceId);
  return name === undefined ? `#${serviceId}` : `${name.name}/${name.protocol}/${name.family}`;
}

/** Who a lookup admits that read this row and looks into the trie now. */
function admittedBy(port: MapPort, { serviceId, flags }: Row): ReadonlySet<string> {
  if ((flags & FRONTEND.SOURCE_RANGES) === 0) return new Set(CALLERS);
  const prefixes = [...port.sourceRanges()]
    .filter((range) => range.serviceId === serviceId)
    .map((range) => parseCidr(prefixText(range)));
  const sources = SOURCES.filter((source) =>
    prefixes.some((prefix) => prefix !== null && cidrContains(prefix, addressBytes(source))),
  );
  return new Set([
    ...(flags & FRONTEND.ALLOW_HOST ? ["host"] : []),
    ...(flags & FRONTEND.ALLOW_PODS ? ["pods"] : []),
    ...sources,
  ]);
}
