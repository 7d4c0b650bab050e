// SPDX-License-Identifier: Apache-2.0
// Looks at the pinned maps from outside the agent: which endpoints a Service has in the kernel, how many bytes differ
// between two moments, what the maps weigh. The agent's word is not asked.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfMap, type MmapView } from "libbpf-ts";
import type { BenchService } from "./services.ts";

const SERVICE_BYTES = 64;
const BACKEND_BYTES = 32;
const PORT_OFFSET = 16;
const PROTOCOLS = { TCP: 6, UDP: 17 } as const;

function frontendKey(service: BenchService): Uint8Array {
  const key = new Uint8Array(20);
  key.set([0xff, 0xff], 10);
  key.set(service.clusterIp.split(".").map(Number), 12);
  const view = new DataView(key.buffer);
  view.setUint16(16, service.port, true);
  key[18] = PROTOCOLS[service.protocol];
  return key;
}

/** Copies of the arrays that the agent writes. */
export interface Snapshot {
  readonly services: Uint8Array;
  readonly slots: Uint8Array;
  readonly backends: Uint8Array;
  /** Rows of the hashes: frontends, names. */
  readonly rows: readonly string[];
}

export class Observer implements Disposable {
  readonly #dir: string;
  readonly #frontends: BpfMap;
  readonly #names: BpfMap;
  readonly #views: MmapView[] = [];
  readonly #maps: BpfMap[] = [];
  readonly #services: DataView;
  readonly #slots: DataView;
  readonly #backends: DataView;
  readonly #active: DataView;
  readonly #servicesView: MmapView;

  /** `maps` is the folder of pinned maps: BPFFS/portolan/v1/maps. */
  constructor(maps: string) {
    this.#dir = maps;
    this.#frontends = this.#open("pt_frontends");
    this.#names = this.#open("pt_names");
    this.#servicesView = this.#map("pt_services");
    this.#services = new DataView(this.#servicesView.buffer);
    this.#slots = new DataView(this.#map("pt_slots").buffer);
    this.#backends = new DataView(this.#map("pt_backends").buffer);
    this.#active = new DataView(this.#map("pt_active").buffer);
  }

  #open(name: string): BpfMap {
    const map = BpfMap.open(join(this.#dir, name));
    this.#maps.push(map);
    return map;
  }

  #map(name: string): MmapView {
    const view = this.#open(name).mmap({ readOnly: true });
    this.#views.push(view);
    return view;
  }

  /** The Service's id, 0 if the kernel does not know it. */
  serviceId(service: BenchService): number {
    const value = this.#frontends.get(frontendKey(service));
    return value ? new DataView(value.buffer, value.byteOffset).getUint32(0, true) : 0;
  }

  /** Which backends are in use, as text: it changes with every published change. */
  members(serviceId: number): string {
    const { base, count } = this.#extent(serviceId);
    const ids = Array.from({ length: count }, (_, n) => this.#slots.getUint32((base + n) * 4, true));
    return `${base}:${ids.join()}`;
  }

  #extent(serviceId: number): { base: number; count: number } {
    const word = this.#servicesView.load64(serviceId * SERVICE_BYTES);
    return { base: Number(word & 0xffff_ffffn), count: Number((word >> 32n) & 0xff_ffffn) };
  }

  /** "a.b.c.d:port" of every endpoint that the next connection may reach. */
  endpoints(serviceId: number): string[] {
    const { base, count } = this.#extent(serviceId);
    return Array.from({ length: count }, (_, n) => {
      const row = this.#slots.getUint32((base + n) * 4, true) * BACKEND_BYTES;
      const address = [12, 13, 14, 15].map((i) => this.#backends.getUint8(row + i)).join(".");
      return `${address}:${this.#backends.getUint16(row + PORT_OFFSET, true)}`;
    });
  }

  /** Open connections that the programs have counted, over all endpoints. */
  activeConnections(): number {
    let sum = 0n;
    for (let at = 0; at < this.#active.byteLength; at += 8) sum += this.#active.getBigUint64(at, true);
    return Number(sum);
  }

  hasNames(): boolean {
    return this.#names.keys().next().done !== true;
  }

  /** Number of units that the kernel has. */
  units(): number {
    let count = 0;
    for (const _ of this.#names.keys()) count++;
    return count;
  }

  snapshot(): Snapshot {
    const copy = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
    const rows = [this.#frontends, this.#names].flatMap((map) =>
      Array.from(map.entries(), ([key, value]) => `${hex(key)} ${hex(value)}`),
    );
    return {
      services: copy(this.#services),
      slots: copy(this.#slots),
      backends: copy(this.#backends),
      rows: rows.sort(),
    };
  }

  [Symbol.dispose](): void {
    for (const view of this.#views) view.close();
    for (const map of this.#maps) map.close();
  }
}

/** Elements of `size` bytes that differ. */
function changedElements(before: Uint8Array, after: Uint8Array, size: number): number {
  let changed = 0;
  for (let at = 0; at < before.length; at += size) {
    if (Buffer.compare(before.subarray(at, at + size), after.subarray(at, at + size)) !== 0) changed++;
  }
  return changed;
}

/** Rows and array elements (a slot is one) that differ between two moments: no fewer writes can have happened. */
export function changedRows(before: Snapshot, after: Snapshot): number {
  const known = new Set(before.rows);
  const kept = after.rows.filter((row) => known.has(row)).length;
  return (
    changedElements(before.services, after.services, SERVICE_BYTES) +
    changedElements(before.slots, after.slots, 4) +
    changedElements(before.backends, after.backends, BACKEND_BYTES) +
    Math.max(before.rows.length, after.rows.length) -
    kept
  );
}

/** Kernel memory of every pinned map in bytes, by name. */
export function mapBytes(maps: string): Map<string, number> {
  return new Map(
    readdirSync(maps).map((name) => {
      using map = BpfMap.open(join(maps, name));
      return [name, map.info.memlockBytes];
    }),
  );
}
