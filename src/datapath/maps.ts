// SPDX-License-Identifier: Apache-2.0
// The pinned maps as program/ writes them: arrays through their mmap, hashes by syscall or batch. Order is the caller's.

import { type BpfError, BpfMap, type BpfObject, Btf, gracePeriod, type MmapView } from "libbpf-ts";
import { AddressBits } from "./address-bits.ts";
import type { AuditedMaps, AuditPort } from "./audit-port.ts";
import { BackendArray } from "./backend-array.ts";
import { FrontendCodec, NameCodec, NodeAddressCodec, SourceRangeCodec } from "./codecs.ts";
import { checkEnums, type Layout, LayoutError, structLayout } from "./layout.ts";
import { MapAudit } from "./map-audit.ts";
import type { BackendRow, Capacity, FrontendKey, FrontendRow, NameRow, ServiceRow, SourceRange } from "./port.ts";

/** Every pinned map of schema v1. */
export const MAP_NAMES = [
  "pt_address_bits",
  "pt_frontends",
  "pt_services",
  "pt_slots",
  "pt_backends",
  "pt_active",
  "pt_sockets",
  "pt_sockets_ovf",
  "pt_udp_peers",
  "pt_affinity",
  "pt_node_addrs",
  "pt_src_ranges",
  "pt_names",
  "pt_stats",
] as const;
export type MapName = (typeof MAP_NAMES)[number];

/** The maps this class writes; the others are read by flows.ts and dump.ts. */
const PROGRAMMED = [
  "pt_address_bits",
  "pt_frontends",
  "pt_services",
  "pt_slots",
  "pt_backends",
  "pt_active",
  "pt_node_addrs",
  "pt_src_ranges",
  "pt_names",
] as const satisfies readonly MapName[];
type Programmed = (typeof PROGRAMMED)[number];

const BATCH = 4096;
const FULL: ReadonlySet<string> = new Set(["E2BIG", "ENOSPC"]);

/** Writes failing in the middle of a batch say how far they got. */
type BatchError = BpfError & { readonly count?: number };

export class Maps implements AuditedMaps, Disposable {
  readonly capacity: Capacity;
  readonly audit: AuditPort;
  readonly #handles: Readonly<Record<Programmed, BpfMap>>;
  readonly #owned: boolean;
  readonly #frontend: FrontendCodec;
  readonly #name: NameCodec;
  readonly #nodeAddress: NodeAddressCodec;
  readonly #range: SourceRangeCodec;
  readonly #service: Layout<"service">;
  readonly #bitsView: MmapView;
  readonly #bits: AddressBits;
  readonly #services: MmapView;
  readonly #serviceWords: BigUint64Array;
  readonly #serviceHalves: Uint32Array;
  readonly #slots: MmapView;
  readonly #slotIds: Uint32Array;
  readonly #backendView: MmapView;
  readonly #backends: BackendArray;
  readonly #active: MmapView;
  readonly #readOnly: boolean;
  #writes = 0;

  private constructor(
    handles: Readonly<Record<Programmed, BpfMap>>,
    btf: Btf,
    options: MapsOptions & { owned: boolean },
  ) {
    this.#handles = handles;
    this.#owned = options.owned;
    this.#readOnly = options.readOnly ?? false;
    checkEnums(btf);
    this.#frontend = new FrontendCodec(structLayout(btf, "frontend_key"), structLayout(btf, "frontend"));
    this.#name = new NameCodec(structLayout(btf, "service_name"));
    this.#nodeAddress = new NodeAddressCodec(structLayout(btf, "node_addr_key"), structLayout(btf, "node_addr"));
    this.#range = new SourceRangeCodec(structLayout(btf, "src_range_key"), structLayout(btf, "src_range"));
    this.#service = structLayout(btf, "service");
    const backend = structLayout(btf, "backend");
    const page = structLayout(btf, "slot_page");
    structLayout(btf, "active");
    if (page.size !== page.bytes.backend_id) throw new LayoutError(["struct slot_page has more than backend ids"]);
    const mapping = { readOnly: this.#readOnly };
    this.#bitsView = handles.pt_address_bits.mmap(mapping);
    this.#bits = new AddressBits(this.#bitsView);
    this.#services = handles.pt_services.mmap(mapping);
    this.#serviceWords = new BigUint64Array(this.#services.buffer);
    this.#serviceHalves = new Uint32Array(this.#services.buffer);
    this.#slots = handles.pt_slots.mmap(mapping);
    this.#slotIds = new Uint32Array(this.#slots.buffer);
    this.#backendView = handles.pt_backends.mmap(mapping);
    this.#backends = new BackendArray(this.#backendView, backend);
    this.#active = handles.pt_active.mmap(mapping);
    this.audit = new MapAudit({
      frontends: handles.pt_frontends,
      names: handles.pt_names,
      others: [handles.pt_node_addrs, handles.pt_src_ranges],
      frontend: this.#frontend,
      name: this.#name,
      services: this.#services,
      service: this.#service,
      slots: this.#slotIds,
      backends: this.#backends,
      bits: this.#bits,
      onStore: () => this.#countStore(),
    });
    this.capacity = {
      services: handles.pt_services.info.maxEntries,
      frontends: handles.pt_frontends.info.maxEntries,
      backends: Math.min(handles.pt_backends.info.maxEntries, handles.pt_active.info.maxEntries),
      slots: handles.pt_slots.info.maxEntries * (page.size / 4),
      sourceRanges: handles.pt_src_ranges.info.maxEntries,
    };
    if (!this.#readOnly) this.#coverAll();
  }

  /** The maps of a loaded object. Handles stay the object's; close() ends only the mappings. */
  static ofObject(object: BpfObject, options: MapsOptions = {}): Maps {
    const handles = Object.fromEntries(PROGRAMMED.map((name) => [name, object.map(name)]));
    using btf = object.btf();
    return new Maps(handles as Record<Programmed, BpfMap>, btf, { ...options, owned: false });
  }

  /** The maps pinned in `directory`. Throws BpfError (ENOENT: not pinned) or LayoutError. */
  static openPinned(directory: string, options: MapsOptions = {}): Maps {
    using opened = new DisposableStack();
    const handles: Partial<Record<Programmed, BpfMap>> = {};
    for (const name of PROGRAMMED) handles[name] = opened.use(BpfMap.open(`${directory}/${name}`));
    const complete = handles as Record<Programmed, BpfMap>;
    // The map that releases added last: whoever made it compared the older ones with the types it came with.
    const btf = options.btf ?? Btf.ofMap(complete.pt_src_ranges);
    if (btf === null) throw new LayoutError(["the pinned maps carry no BTF"]);
    if (options.btf === undefined) opened.use(btf);
    const maps = new Maps(complete, btf, { ...options, owned: true });
    if (options.btf === undefined) btf.close();
    opened.move();
    return maps;
  }

  get writes(): number {
    return this.#writes;
  }

  setName(serviceId: number, name: NameRow): void {
    this.#handles.pt_names.set(this.#name.keys([serviceId]), this.#name.values([name]));
    this.#writes++;
  }

  setNames(rows: readonly (readonly [serviceId: number, name: NameRow])[]): number {
    const keys = this.#name.keys(rows.map(([id]) => id));
    const values = this.#name.values(rows.map(([, name]) => name));
    return this.#batch(this.#handles.pt_names, keys, values, rows.length);
  }

  deleteName(serviceId: number): void {
    if (this.#handles.pt_names.delete(this.#name.keys([serviceId]))) this.#writes++;
  }

  writeBackend(id: number, row: BackendRow): void {
    this.#countStore();
    this.#backends.write(id, row);
  }

  setBackendState(id: number, generation: number, flags: number): void {
    this.#countStore();
    this.#backends.setState(id, generation, flags);
  }

  resetActive(id: number): void {
    this.#countStore();
    this.#active.store64(id * this.#active.elementSize, 0n);
  }

  writeSlots(base: number, backendIds: Uint32Array): void {
    this.#countStore();
    // One by one: some may be in use, and no reader may see half of one.
    for (let i = 0; i < backendIds.length; i++) this.#slotIds[base + i] = backendIds[i] ?? 0;
  }

  setAffinity(serviceId: number, affinitySec: number): void {
    this.#countStore();
    this.#services.store32(this.#serviceAt(serviceId) + this.#service.at.affinity_sec, affinitySec);
  }

  setCluster(serviceId: number, word: bigint): void {
    this.#countStore();
    this.#services.store64(this.#serviceAt(serviceId) + this.#service.at.cluster, word);
  }

  setLocal(serviceId: number, word: bigint): void {
    this.#countStore();
    this.#services.store64(this.#serviceAt(serviceId) + this.#service.at.local, word);
  }

  putFrontend(row: FrontendRow): void {
    this.#cover(row.address);
    this.#handles.pt_frontends.set(this.#frontend.keys([row]), this.#frontend.values([row]));
    this.#writes++;
  }

  putFrontends(rows: readonly FrontendRow[]): number {
    for (const { address } of rows) this.#cover(address);
    const map = this.#handles.pt_frontends;
    return this.#batch(map, this.#frontend.keys(rows), this.#frontend.values(rows), rows.length);
  }

  deleteFrontend(key: FrontendKey): void {
    if (this.#handles.pt_frontends.delete(this.#frontend.keys([key]))) this.#writes++;
  }

  putSourceRange(range: SourceRange): void {
    this.#handles.pt_src_ranges.set(this.#range.key(range), this.#range.allowed);
    this.#writes++;
  }

  deleteSourceRange(range: SourceRange): void {
    if (this.#handles.pt_src_ranges.delete(this.#range.key(range))) this.#writes++;
  }

  putNodeAddress(address: Uint8Array, flags: number): void {
    this.#cover(address);
    this.#handles.pt_node_addrs.set(this.#nodeAddress.key(address), this.#nodeAddress.value(flags));
    this.#writes++;
  }

  deleteNodeAddress(address: Uint8Array): void {
    if (this.#handles.pt_node_addrs.delete(this.#nodeAddress.key(address))) this.#writes++;
  }

  grace(): Promise<void> {
    return gracePeriod();
  }

  *names(): Generator<readonly [serviceId: number, name: NameRow]> {
    for (const { keys, values, count } of this.#handles.pt_names.lookupBatch(BATCH)) {
      for (let i = 0; i < count; i++) yield this.#name.decode(keys, values, i);
    }
  }

  *frontends(): Generator<FrontendRow> {
    for (const { keys, values, count } of this.#handles.pt_frontends.lookupBatch(BATCH)) {
      for (let i = 0; i < count; i++) yield this.#frontend.decode(keys, values, i);
    }
  }

  service(id: number): ServiceRow {
    const at = this.#serviceAt(id);
    const offsets = this.#service.at;
    return {
      cluster: this.#serviceWords[(at + offsets.cluster) >> 3] ?? 0n,
      local: this.#serviceWords[(at + offsets.local) >> 3] ?? 0n,
      affinitySec: this.#serviceHalves[(at + offsets.affinity_sec) >> 2] ?? 0,
    };
  }

  backend(id: number): BackendRow {
    return this.#backends.read(id);
  }

  backendService(id: number): number {
    return this.#backends.service(id);
  }

  backendGeneration(id: number): number {
    return this.#backends.generation(id);
  }

  backendFlags(id: number): number {
    return this.#backends.flags(id);
  }

  copyEndpoint(id: number, into: Uint8Array, offset: number): void {
    this.#backends.copyEndpoint(id, into, offset);
  }

  usedBackends(): Iterable<number> {
    return this.#backends.used(this.capacity.backends);
  }

  slots(base: number, count: number): Uint32Array {
    return this.#slotIds.slice(base, base + count);
  }

  active(id: number): bigint {
    return this.#active.load64(id * this.#active.elementSize);
  }

  *sourceRanges(): Generator<SourceRange> {
    for (const key of this.#handles.pt_src_ranges.keys()) yield this.#range.decode(key);
  }

  *nodeAddresses(): Generator<readonly [address: Uint8Array, flags: number]> {
    for (const [key, value] of this.#handles.pt_node_addrs.entries()) yield this.#nodeAddress.decode(key, value);
  }

  close(): void {
    for (const view of [this.#bitsView, this.#services, this.#slots, this.#backendView, this.#active]) view.close();
    if (this.#owned) for (const map of Object.values(this.#handles)) map.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Before each store into a mapping: into one for reading only it would be a segmentation fault. */
  #countStore(): void {
    if (this.#readOnly) throw new TypeError("these maps were opened for reading only");
    this.#writes++;
  }

  /** Before the row with this address is written, so that no program takes a row for absent. */
  #cover(address: Uint8Array): void {
    if (this.#bits.cover(address)) this.#countStore();
  }

  /** The filter may be newer than the rows, or somebody's hand was in it. */
  #coverAll(): void {
    for (const { address } of this.frontends()) this.#cover(address);
    for (const [address] of this.nodeAddresses()) this.#cover(address);
  }

  #serviceAt(id: number): number {
    const at = id * this.#services.elementSize;
    if (at >= this.#serviceWords.byteLength) throw new RangeError(`service id ${id} is outside pt_services`);
    return at;
  }

  #batch(map: BpfMap, keys: Uint8Array, values: Uint8Array, count: number): number {
    if (count === 0) return 0;
    try {
      const written = map.updateBatch(keys, values, count);
      this.#writes += written;
      return written;
    } catch (error) {
      const { count: written = 0, code } = error as BatchError;
      this.#writes += written;
      if (written > 0 || FULL.has(code)) return written;
      throw error;
    }
  }
}

export interface MapsOptions {
  /** For whoever only looks: the mappings then refuse writes. */
  readonly readOnly?: boolean;
  /** The object's, for openPinned() without CAP_SYS_ADMIN: the kernel gives a map's own BTF to nobody else. */
  readonly btf?: Btf;
}
