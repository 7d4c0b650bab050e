// SPDX-License-Identifier: Apache-2.0
// An array map in this process' memory.
import type { NativeMmapView } from "./addon.ts";

/**
 * The elements of a MMAPABLE array, shared with the kernel and with every other process that maps them.
 * Element i lies at i × elementSize. Offsets are in bytes; RangeError if one is outside or not aligned.
 */
export class MmapView implements Disposable {
  /**
   * The same memory for typed arrays: plain accesses, in no guaranteed order, so only for what nobody else reads yet
   * or writes any more. Detached (length 0) by close. A write to a read-only mapping through it is a segmentation fault.
   */
  readonly buffer: ArrayBuffer;
  /** The value size rounded up to 8. */
  readonly elementSize: number;
  readonly #native: NativeMmapView;

  constructor(native: NativeMmapView, elementSize: number) {
    this.#native = native;
    this.buffer = native.buffer;
    this.elementSize = elementSize;
  }

  /** Acquire order. */
  load64(offset: number): bigint {
    return this.#native.load64(offset);
  }

  /** Release order: whoever reads the new value with acquire order sees all that was written before it. */
  store64(offset: number, value: bigint): void {
    this.#native.store64(offset, value);
  }

  /** Returns the old value. Wraps at 2^64; a negative delta subtracts. */
  add64(offset: number, delta: bigint): bigint {
    return this.#native.add64(offset, delta);
  }

  /** Stores value if the word equals expected. Returns the old value either way. */
  compareExchange64(offset: number, expected: bigint, value: bigint): bigint {
    return this.#native.compareExchange64(offset, expected, value);
  }

  /** Acquire order. */
  load32(offset: number): number {
    return this.#native.load32(offset);
  }

  /** Release order. */
  store32(offset: number, value: number): void {
    this.#native.store32(offset, value);
  }

  /** Unmaps, and detaches buffer. May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
