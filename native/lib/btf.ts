// SPDX-License-Identifier: Apache-2.0
// Type information: where the members of structs lie, what enums are called, which structs a map holds.
import { addon, type NativeBtf } from "./addon.ts";
import { nativeOf } from "./handle.ts";
import type { BpfMap } from "./map.ts";
import type { BtfStruct } from "./types.ts";

export class Btf implements Disposable {
  readonly #native: NativeBtf;

  /** For this package; use ofMap, vmlinux or BpfObject.btf. */
  constructor(native: NativeBtf) {
    this.#native = native;
  }

  /** The BTF that the map was created with; null if it has none. Needs CAP_SYS_ADMIN, since BTF is opened by its id. */
  static ofMap(map: BpfMap): Btf | null {
    const native = addon.btfOfMap(nativeOf(map));
    return native === null ? null : new Btf(native);
  }

  /** The running kernel's. Takes some megabytes until it is closed. */
  static vmlinux(): Btf {
    return new Btf(addon.btfOfVmlinux());
  }

  /** A struct or union by its name or a typedef's; null: there is none. */
  struct(name: string): BtfStruct | null {
    return this.#native.struct(name);
  }

  /** The enumerators of an enum by its name or a typedef's; null: there is none. */
  enum(name: string): Record<string, number> | null {
    return this.#native.enum(name);
  }

  /**
   * The names of the structs that a map's key and value are (null: not a struct, say a __u32). From the object file's
   * definition of the map or, for ofMap, what the kernel was told when that map was created. null: no such map.
   */
  mapTypes(mapName: string): { key: string | null; value: string | null } | null {
    return this.#native.mapTypes(mapName);
  }

  /** May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
