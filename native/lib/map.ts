// SPDX-License-Identifier: Apache-2.0
// BPF maps: single elements, batches, iteration, mappings. Keys and values are bytes in the kernel's own layout.
import { addon, type NativeChunk, type NativeMap } from "./addon.ts";
import { BpfError } from "./error.ts";
import { Handle, nativeOf } from "./handle.ts";
import { MmapView } from "./mmap.ts";
import type { MapInfo, MapType } from "./types.ts";

const CHUNK = 4096;
/** What the kernel answers for a type of map without batches: ENOTSUPP, ENOTSUP from older ones. */
const NO_BATCHES = new Set(["ENOTSUPP", "EOPNOTSUPP", "ENOTSUP"]);

export interface MapSpec {
  type: MapType;
  /** At most 15 characters. */
  name: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  /** MapFlags, or-ed. */
  flags?: number;
  /** For maps of maps: a map of the shape that their values will have. */
  innerMap?: BpfMap;
}

/**
 * A map's file descriptor. RangeError or TypeError before any system call if a buffer does not have the map's size;
 * BpfError if the call fails, EBADF if the handle is closed.
 */
export class BpfMap extends Handle<NativeMap> {
  readonly #native: NativeMap;

  /** For this package; use create, open, openById or BpfObject.map. */
  constructor(native: NativeMap) {
    super(native);
    this.#native = native;
  }

  static create(spec: MapSpec): BpfMap {
    const innerMap = spec.innerMap === undefined ? null : nativeOf(spec.innerMap);
    return new BpfMap(addon.createMap({ ...spec, flags: spec.flags ?? 0, innerMap }));
  }

  /** A pinned map. EINVAL if something else is pinned there. */
  static open(path: string): BpfMap {
    return new BpfMap(addon.openMap(path));
  }

  /** Needs CAP_SYS_ADMIN. */
  static openById(id: number): BpfMap {
    return new BpfMap(addon.openMapById(id));
  }

  get info(): MapInfo {
    return this.#native.info;
  }

  /** Per-CPU maps: one value for each possible CPU, each rounded up to 8 bytes. null: no such key. */
  get(key: Uint8Array): Uint8Array | null {
    return this.#native.get(key);
  }

  /** flags: UpdateFlags. */
  set(key: Uint8Array, value: Uint8Array, flags = 0): void {
    this.#native.set(key, value, flags);
  }

  /** false: there was no such key. */
  delete(key: Uint8Array): boolean {
    return this.#native.delete(key);
  }

  /**
   * Every key with its value, while others may write: what is there all the time is seen, what comes or goes meanwhile
   * may be. The caller may delete what it was given.
   */
  *entries(): Generator<[Uint8Array, Uint8Array]> {
    const { keySize } = this.info;
    if (!this.#hasBatches()) {
      for (const key of this.#walk(keySize)) {
        const value = this.get(key);
        if (value !== null) yield [key, value];
      }
      return;
    }
    for (const { keys, values, count } of this.lookupBatch()) {
      const valueBytes = values.length / count;
      for (let i = 0; i < count; i++) {
        yield [keys.slice(i * keySize, (i + 1) * keySize), values.slice(i * valueBytes, (i + 1) * valueBytes)];
      }
    }
  }

  *keys(): Generator<Uint8Array> {
    const { keySize } = this.info;
    if (!this.#hasBatches()) {
      yield* this.#walk(keySize);
      return;
    }
    for (const { keys, count } of this.lookupBatch()) {
      for (let i = 0; i < count; i++) yield keys.slice(i * keySize, (i + 1) * keySize);
    }
  }

  /**
   * count packed keys and values, in order. Returns count; after a failure the error's `count` says how many were
   * written before it.
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flags = 0): number {
    return this.#native.updateBatch(keys, values, count, flags);
  }

  /** As updateBatch. Fails with ENOENT at the first key that is not there. */
  deleteBatch(keys: Uint8Array, count: number): number {
    return this.#native.deleteBatch(keys, count);
  }

  /** The whole map, some elements at a time: about `chunk` of them, more where one hash bucket holds more. */
  *lookupBatch(chunk = CHUNK): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
    let size = Math.max(1, Math.min(chunk, this.info.maxEntries));
    let cursor: Uint8Array | null = null;
    for (;;) {
      const found: NativeChunk | null = this.#lookupOnce(cursor, size);
      if (found === null) {
        size *= 2;
        continue;
      }
      const { keys, values, count } = found;
      if (count > 0) yield { keys, values, count };
      if (found.cursor === null) return;
      cursor = found.cursor;
    }
  }

  /** Maps an array that was created with MapFlags.MMAPABLE. The mapping outlives this handle. */
  mmap(options: { readOnly?: boolean } = {}): MmapView {
    const native = this.#native.mmap(options.readOnly ?? false);
    return new MmapView(native, Math.ceil(this.info.valueSize / 8) * 8);
  }

  pin(path: string): void {
    this.#native.pin(path);
  }

  /** null: a bucket has more than chunk elements (ENOSPC); the cursor is where it was. */
  #lookupOnce(cursor: Uint8Array | null, chunk: number): NativeChunk | null {
    try {
      return this.#native.lookupBatch(cursor, chunk);
    } catch (error) {
      if (error instanceof BpfError && error.code === "ENOSPC") return null;
      throw error;
    }
  }

  #hasBatches(): boolean {
    try {
      this.#lookupOnce(null, 1);
      return true;
    } catch (error) {
      if (error instanceof BpfError && NO_BATCHES.has(error.code)) return false;
      throw error;
    }
  }

  *#walk(keySize: number): Generator<Uint8Array> {
    const keys = this.#native.allKeys();
    for (let at = 0; at < keys.length; at += keySize) yield keys.slice(at, at + keySize);
  }
}
