// SPDX-License-Identifier: Apache-2.0
// Small system calls that Node.js lacks. Errors are BpfError.
import { addon } from "./addon.ts";

export const sys = {
  /** A descriptor (O_DIRECTORY, close-on-exec) that the caller closes. */
  openDir(path: string): number {
    return addon.openDir(path);
  },
  close(fd: number): void {
    addon.close(fd);
  },
  /** false: held by another and nonBlocking was set. Without it the whole process waits. */
  flock(fd: number, mode: "exclusive" | "shared" | "unlock", options: { nonBlocking?: boolean } = {}): boolean {
    return addon.flock(fd, mode, options.nonBlocking ?? false);
  },
  /** The cookie of this thread's network namespace (SO_NETNS_COOKIE), as bpf_get_netns_cookie gives it. */
  netnsCookie(): bigint {
    return addon.netnsCookie();
  },
  /**
   * Moves the calling thread, and with it all synchronous calls of this JavaScript environment; libuv's workers stay
   * where they are. "mnt" gives the thread a root and working directory of its own first.
   */
  setns(path: string, kind: "net" | "mnt" | "cgroup"): void {
    addon.setns(path, kind);
  },
  /** At most size bytes: as many as the kernel gave. */
  getsockopt(fd: number, level: number, name: number, size: number): Uint8Array {
    return addon.getsockopt(fd, level, name, size);
  },
  mount(source: string, target: string, type: string, flags: number, data: string): void {
    addon.mount(source, target, type, flags, data);
  },
  umount(target: string, flags = 0): void {
    addon.umount(target, flags);
  },
  /** statfs' f_type: 0xcafe4a11 is bpffs, 0x63677270 cgroup2. */
  statfsType(path: string): number {
    return addon.statfsType(path);
  },
  /** CLOCK_MONOTONIC, which bpf_ktime_get_ns reads. */
  clockMonotonicNs(): bigint {
    return addon.clockMonotonicNs();
  },
  /**
   * malloc_trim(0): the C library gives back what it holds free, in the midst of its heap too. Takes milliseconds; false
   * if there was nothing to give.
   */
  mallocTrim(): boolean {
    return addon.mallocTrim();
  },
};
