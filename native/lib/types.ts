// SPDX-License-Identifier: Apache-2.0
// What the kernel and libbpf tell of maps, programs, links and types, as plain values.

/** Type names are libbpf's; a number that this libbpf has no name for is written in decimal ("57"). */
export type MapType =
  | "hash"
  | "array"
  | "percpu_array"
  | "percpu_hash"
  | "lru_hash"
  | "lpm_trie"
  | "array_of_maps"
  | "hash_of_maps"
  | "ringbuf"
  | "sk_storage"
  | "prog_array"
  | (string & {});

export type CgroupAttachType =
  | "cgroup_inet4_connect"
  | "cgroup_inet6_connect"
  | "cgroup_udp4_sendmsg"
  | "cgroup_udp6_sendmsg"
  | "cgroup_udp4_recvmsg"
  | "cgroup_udp6_recvmsg"
  | "cgroup_inet4_getpeername"
  | "cgroup_inet6_getpeername"
  | "cgroup_inet4_post_bind"
  | "cgroup_inet6_post_bind"
  | "cgroup_inet_sock_release"
  | (string & {});

export interface MapInfo {
  id: number;
  type: MapType;
  name: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  /** 0: the map was created without BTF. */
  btfId: number;
  /** What the kernel charges for it (fdinfo's memlock); 0 where it does not say. */
  memlockBytes: number;
}

export interface ObjectMap {
  name: string;
  type: MapType;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

export interface ObjectProgram {
  name: string;
  section: string;
  type: string;
  /** "" for a program type that has none. */
  expectedAttachType: string;
}

export interface ProgramInfo {
  id: number;
  type: string;
  /** At most 15 characters. */
  name: string;
  /** Hex digits: equal for equal instructions. */
  tag: string;
  /** 0 before kernel 5.16. */
  verifiedInstructions: number;
  xlatedBytes: number;
  jitedBytes: number;
  mapIds: number[];
  /** Counted only while kernel.bpf_stats_enabled is 1. */
  runCount: bigint;
  runTimeNs: bigint;
  /** When it was loaded, on the clock that starts at boot. */
  loadTimeNs: bigint;
  createdByUid: number;
}

export interface TestRunResult {
  returnValue: number;
  /** The mean of all repetitions. */
  durationNs: number;
  data: Uint8Array | null;
  ctx: Uint8Array | null;
}

export interface LinkInfo {
  id: number;
  type: string;
  /** 0 after detach. */
  programId: number;
  attachType: string;
  cgroupId: bigint | null;
  ifindex: number | null;
}

/** Offset and size are in bytes. Members of an anonymous struct or union stand among those of the one around it. */
export interface BtfMember {
  name: string;
  offset: number;
  /** Of the whole member, all elements of an array included. */
  size: number;
  /** Of one element: the name as written ("__u32", "char", "backend"), without struct, enum and const. */
  type: string;
  /** The array's length over all dimensions; null: no array. */
  elements: number | null;
  /** Of a bit-field, within the byte at offset; null: no bit-field. */
  bitOffset: number | null;
  bitSize: number | null;
}

export interface BtfStruct {
  name: string;
  size: number;
  members: BtfMember[];
}

export const MapFlags = {
  NO_PREALLOC: 1,
  NO_COMMON_LRU: 2,
  NUMA_NODE: 4,
  RDONLY: 8,
  WRONLY: 16,
  STACK_BUILD_ID: 32,
  ZERO_SEED: 64,
  RDONLY_PROG: 128,
  WRONLY_PROG: 256,
  CLONE: 512,
  MMAPABLE: 1024,
  PRESERVE_ELEMS: 2048,
  INNER_MAP: 4096,
} as const;

export const UpdateFlags = { ANY: 0, NOEXIST: 1, EXIST: 2 } as const;
