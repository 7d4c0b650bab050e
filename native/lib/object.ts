// SPDX-License-Identifier: Apache-2.0
// BPF object files: opened, adjusted, loaded.
import { addon, type NativeObject } from "./addon.ts";
import { Btf } from "./btf.ts";
import { nativeOf } from "./handle.ts";
import { BpfMap } from "./map.ts";
import { BpfProgram } from "./program.ts";
import type { ObjectMap, ObjectProgram } from "./types.ts";

/** Maps and programs taken from an object live on when it closes. */
export class BpfObject implements Disposable {
  readonly #native: NativeObject;
  #log: string | null = null;

  private constructor(native: NativeObject) {
    this.#native = native;
  }

  /** Parses an ELF file made by `clang -g -target bpf`. Nothing reaches the kernel yet. */
  static open(path: string): BpfObject {
    return new BpfObject(addon.openObject(path));
  }

  /** Global data sections count as maps (".rodata", ".bss", …). */
  get maps(): ObjectMap[] {
    return this.#native.maps;
  }

  get programs(): ObjectProgram[] {
    return this.#native.programs;
  }

  /** What the verifier said at load with a logLevel; null without. */
  get log(): string | null {
    return this.#log;
  }

  /**
   * Before load: sets a `const volatile` global by its C name. Number, bigint and boolean for integers and bools,
   * Uint8Array (the variable's bytes) for anything. RangeError if it does not fit, ENOENT if there is no such constant.
   */
  setRodata(variable: string, value: number | bigint | boolean | Uint8Array): void {
    this.#native.setRodata(variable, value);
  }

  /** Before load. */
  setMaxEntries(map: string, n: number): void {
    this.#native.setMaxEntries(map, n);
  }

  /** Before load: uses an existing map instead of a new one. EINVAL if type, key size or value size differ. */
  reuseMap(map: string, existing: BpfMap): void {
    this.#native.reuseMap(map, nativeOf(existing));
  }

  /** Before load: whether the program is loaded at all. */
  setAutoload(program: string, load: boolean): void {
    this.#native.setAutoload(program, load);
  }

  /**
   * Before load, for a kernel without some helper: every call of it, by its number in enum bpf_func_id, becomes its
   * result. Not those in functions that were not inlined. Returns how many calls there were.
   */
  stubHelper(helper: number, result: number): number {
    return this.#native.stubHelper(helper, result);
  }

  /** Creates the maps and loads the programs. BpfError with the verifier's log. An object is loaded once at most. */
  load(options: { logLevel?: number } = {}): void {
    this.#log = this.#native.load(options.logLevel ?? 0);
  }

  map(name: string): BpfMap {
    return new BpfMap(this.#native.map(name));
  }

  program(name: string): BpfProgram {
    return new BpfProgram(this.#native.program(name));
  }

  /** The file's BTF, a copy that outlives the object. Usable before load. */
  btf(): Btf {
    return new Btf(this.#native.btf());
  }

  /** May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
