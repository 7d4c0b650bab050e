// SPDX-License-Identifier: Apache-2.0
// What the owners of a descriptor have in common: fd, close, and disposal. Garbage collection closes them too.
import type { NativeHandle } from "./addon.ts";

let reveal: <N extends NativeHandle>(handle: Handle<N>) => N;

export abstract class Handle<N extends NativeHandle> implements Disposable {
  readonly #native: N;

  static {
    reveal = (handle) => handle.#native;
  }

  protected constructor(native: N) {
    this.#native = native;
  }

  /** Throws BpfError EBADF once closed, as everything but close does. */
  get fd(): number {
    return this.#native.fd;
  }

  /** May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The native side of a handle, for the files of this package. TypeError if it is no handle. */
export function nativeOf<N extends NativeHandle>(handle: Handle<N>): N {
  return reveal(handle);
}
