// SPDX-License-Identifier: Apache-2.0
// Finds and loads the native module, and says what it exports. The only file that touches it.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { BpfError } from "./error.ts";
import type { BtfStruct, LinkInfo, MapInfo, ObjectMap, ObjectProgram, ProgramInfo, TestRunResult } from "./types.ts";

export interface NativeHandle {
  readonly fd: number;
  close(): void;
}

export interface NativeMmapView {
  readonly buffer: ArrayBuffer;
  load64(offset: number): bigint;
  store64(offset: number, value: bigint): void;
  add64(offset: number, delta: bigint): bigint;
  compareExchange64(offset: number, expected: bigint, value: bigint): bigint;
  load32(offset: number): number;
  store32(offset: number, value: number): void;
  close(): void;
}

export interface NativeChunk {
  keys: Uint8Array;
  values: Uint8Array;
  count: number;
  cursor: Uint8Array | null;
}

export interface NativeMap extends NativeHandle {
  readonly info: MapInfo;
  get(key: Uint8Array): Uint8Array | null;
  set(key: Uint8Array, value: Uint8Array, flags: number): void;
  delete(key: Uint8Array): boolean;
  allKeys(): Uint8Array;
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flags: number): number;
  deleteBatch(keys: Uint8Array, count: number): number;
  lookupBatch(cursor: Uint8Array | null, chunk: number): NativeChunk;
  mmap(readOnly: boolean): NativeMmapView;
  pin(path: string): void;
}

export interface NativeMapSpec {
  type: string;
  name: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  innerMap: NativeMap | null;
}

export interface NativeLink extends NativeHandle {
  readonly info: LinkInfo;
  update(program: NativeProgram): void;
  detach(): void;
  pin(path: string): void;
}

export interface NativeProgram extends NativeHandle {
  readonly info: ProgramInfo;
  testRun(data: Uint8Array | null, ctx: Uint8Array | null, repeat: number, dataOutBytes: number): TestRunResult;
  attachCgroup(cgroupDir: string, attachType: string): NativeLink;
  attachTcx(ifindex: number, ingress: boolean): NativeLink;
  attachXdp(ifindex: number, flags: number): NativeLink;
  pin(path: string): void;
}

export interface NativeBtf {
  struct(name: string): BtfStruct | null;
  enum(name: string): Record<string, number> | null;
  mapTypes(mapName: string): { key: string | null; value: string | null } | null;
  close(): void;
}

export interface NativeObject {
  readonly maps: ObjectMap[];
  readonly programs: ObjectProgram[];
  setRodata(variable: string, value: number | bigint | boolean | Uint8Array): void;
  setMaxEntries(map: string, n: number): void;
  reuseMap(map: string, existing: NativeMap): void;
  setAutoload(program: string, load: boolean): void;
  stubHelper(helper: number, result: number): number;
  load(logLevel: number): string | null;
  map(name: string): NativeMap;
  program(name: string): NativeProgram;
  btf(): NativeBtf;
  close(): void;
}

export interface NativeRingBuffer {
  consume(): number;
  ref(): void;
  unref(): void;
  close(): void;
}

export interface NativeNetlinkSocket {
  readonly portId: number;
  send(message: Uint8Array): void;
  receive(timeoutMs: number): Uint8Array | null;
  onMessage(handler: (error: BpfError | null, data: Uint8Array | null) => void): void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** How the bytes that a worker thread collected come back. */
export type Done = (error: BpfError | null, bytes: Uint8Array | null) => void;

/** Directions are booleans on this side: true is ingress. */
export interface Addon {
  setErrorClass(errorClass: typeof BpfError): void;
  openObject(path: string): NativeObject;
  createMap(spec: NativeMapSpec): NativeMap;
  openMap(path: string): NativeMap;
  openMapById(id: number): NativeMap;
  openProgram(path: string): NativeProgram;
  openProgramById(id: number): NativeProgram;
  openLink(path: string): NativeLink;
  openLinkById(id: number): NativeLink;
  queryCgroup(cgroupDir: string, type: string, effective: boolean): { programIds: number[]; attachFlags: number };
  attachClsact(program: NativeProgram, ifindex: number, ingress: boolean, handle: number, priority: number): void;
  detachClsact(ifindex: number, ingress: boolean, handle: number, priority: number): void;
  btfOfMap(map: NativeMap): NativeBtf | null;
  btfOfVmlinux(): NativeBtf;
  readIterator(program: NativeProgram, map: NativeMap | null): Uint8Array;
  collectIterator(program: NativeProgram, map: NativeMap | null, netns: string, done: Done): void;
  gracePeriod(done: (error: BpfError | null) => void): void;
  probeHelper(programType: string, helper: string): boolean;
  probeMapType(type: string): boolean;
  probeProgramType(type: string): boolean;
  probeBtf(): boolean;
  libbpfVersion(): string;
  netlinkExchange(protocol: number, requests: Uint8Array, netns: string, done: Done): void;
  openDir(path: string): number;
  close(fd: number): void;
  flock(fd: number, mode: string, nonBlocking: boolean): boolean;
  netnsCookie(): bigint;
  setns(path: string, kind: string): void;
  getsockopt(fd: number, level: number, name: number, size: number): Uint8Array;
  mount(source: string, target: string, type: string, flags: number, data: string): void;
  umount(target: string, flags: number): void;
  statfsType(path: string): number;
  clockMonotonicNs(): bigint;
  mallocTrim(): boolean;
  RingBuffer: new (map: NativeMap, onRecord: (data: Uint8Array) => void) => NativeRingBuffer;
  NetlinkSocket: new (protocol: number, groups: number) => NativeNetlinkSocket;
}

/** Beside a bundle; then this package's own build, seen from its sources and from dist/lib. */
const CANDIDATES = ["./libbpf_ts.node", "../build/Release/libbpf_ts.node", "../../build/Release/libbpf_ts.node"];

function addonPath(): string {
  const override = process.env["LIBBPF_TS_ADDON"];
  if (override) return override;
  const paths = CANDIDATES.map((candidate) => fileURLToPath(new URL(candidate, import.meta.url)));
  const found = paths.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`libbpf-ts is not built: none of ${paths.join(", ")} exists`);
  return found;
}

export const addon: Addon = createRequire(import.meta.url)(addonPath());
addon.setErrorClass(BpfError);
