// SPDX-License-Identifier: Apache-2.0
// The public face of libbpf-ts: what is not exported here is private.
export { Btf } from "./lib/btf.ts";
export { BpfError, type BpfErrorInit } from "./lib/error.ts";
export { collectIterator, gracePeriod, probe, queryCgroup, readIterator } from "./lib/kernel.ts";
export { BpfLink } from "./lib/link.ts";
export { BpfMap, type MapSpec } from "./lib/map.ts";
export { MmapView } from "./lib/mmap.ts";
export { NetlinkSocket, netlinkExchange } from "./lib/netlink.ts";
export { BpfObject } from "./lib/object.ts";
export {
  attachClsact,
  BpfProgram,
  type ClsactOptions,
  type Direction,
  detachClsact,
  type TestRunOptions,
} from "./lib/program.ts";
export { RingBuffer } from "./lib/ring-buffer.ts";
export { sys } from "./lib/sys.ts";
export {
  type BtfMember,
  type BtfStruct,
  type CgroupAttachType,
  type LinkInfo,
  MapFlags,
  type MapInfo,
  type MapType,
  type ObjectMap,
  type ObjectProgram,
  type ProgramInfo,
  type TestRunResult,
  UpdateFlags,
} from "./lib/types.ts";
