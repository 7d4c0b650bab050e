// SPDX-License-Identifier: Apache-2.0
// The records of a BPF ring buffer, on the event loop.
import { addon, type NativeRingBuffer } from "./addon.ts";
import { nativeOf } from "./handle.ts";
import type { BpfMap } from "./map.ts";

/**
 * Calls onRecord for every record, in order, with a copy of its bytes. Keeps the process alive unless unref is called,
 * and lives until close, which may be called from onRecord. What onRecord throws is thrown by consume or, on the event
 * loop, becomes an uncaught exception; the record counts as consumed.
 */
export class RingBuffer implements Disposable {
  readonly #native: NativeRingBuffer;

  constructor(map: BpfMap, onRecord: (data: Uint8Array) => void) {
    this.#native = new addon.RingBuffer(nativeOf(map), onRecord);
  }

  /** Hands out at once what is there. Returns how many records that were. */
  consume(): number {
    return this.#native.consume();
  }

  ref(): void {
    this.#native.ref();
  }

  unref(): void {
    this.#native.unref();
  }

  /** May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
