// SPDX-License-Identifier: Apache-2.0
// Calls that belong to no handle: feature probes, cgroup queries, iterators, grace periods.
import { addon } from "./addon.ts";
import { collected } from "./collected.ts";
import { nativeOf } from "./handle.ts";
import type { BpfMap } from "./map.ts";
import type { BpfProgram } from "./program.ts";
import type { CgroupAttachType, MapType } from "./types.ts";

/** What this kernel lets this process do, found out by trying. Nothing stays behind. */
export const probe = {
  /**
   * Whether programs of a type ("cgroup_sock_addr") may call a helper ("set_retval"). TypeError for a helper that is in
   * no kernel; EOPNOTSUPP for types that cannot be tried without a function to attach to (tracing, lsm, …).
   */
  helper(programType: string, helper: string): boolean {
    return addon.probeHelper(programType, helper);
  },
  mapType(type: MapType): boolean {
    return addon.probeMapType(type);
  },
  programType(type: string): boolean {
    return addon.probeProgramType(type);
  },
  /** Whether the kernel's own BTF is there and readable. */
  btf(): boolean {
    return addon.probeBtf();
  },
  /** Of the library that is loaded: "1.1". */
  libbpfVersion(): string {
    return addon.libbpfVersion();
  },
};

/** The programs attached to a cgroup; effective: those of its ancestors too, in the order in which they run. */
export function queryCgroup(
  cgroupDir: string,
  attachType: CgroupAttachType,
  options: { effective?: boolean } = {},
): { programIds: number[]; attachFlags: number } {
  return addon.queryCgroup(cgroupDir, attachType, options.effective ?? false);
}

/** All bytes that an iterator program writes in one pass; map: which map's elements it visits. */
export function readIterator(program: BpfProgram, options: { map?: BpfMap } = {}): Uint8Array {
  return addon.readIterator(nativeOf(program), options.map === undefined ? null : nativeOf(options.map));
}

/**
 * As readIterator, on a worker thread, and with netns in another network namespace (a path like /run/netns/NAME):
 * iterators over sockets visit one namespace. The handles may be closed meanwhile. EFBIG: more than 32 MiB.
 */
export function collectIterator(
  program: BpfProgram,
  options: { map?: BpfMap; netns?: string } = {},
): Promise<Uint8Array> {
  const map = options.map === undefined ? null : nativeOf(options.map);
  return collected((done) => addon.collectIterator(nativeOf(program), map, options.netns ?? "", done));
}

/**
 * Resolves after one RCU grace period: every non-sleepable program that was running at the call has finished. Waits on
 * a worker thread, about 10 ms.
 */
export function gracePeriod(): Promise<void> {
  return new Promise((resolve, reject) => {
    addon.gracePeriod((error) => (error === null ? resolve() : reject(error)));
  });
}
