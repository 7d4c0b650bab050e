// SPDX-License-Identifier: Apache-2.0
// What /proc says: releases, capabilities, cgroup mounts, sockets that hold ports.

import { expect, test } from "vitest";
import { cgroup2Mounts, isInside } from "../../../src/node/cgroup.ts";
import { effectiveCapabilities, parseRelease } from "../../../src/node/kernel.ts";
import { portsInState } from "../../../src/node/listeners.ts";

test("releases", () => {
  expect(parseRelease("6.18.44-fc-v669")).toEqual([6, 18]);
  expect(parseRelease("5.15")).toEqual([5, 15]);
  expect(parseRelease("generic")).toBeNull();
});

test("capabilities, CAP_SYS_ADMIN standing in for the younger ones", () => {
  const of = (bits: bigint) =>
    [...effectiveCapabilities(`Name:\tx\nCapEff:\t${bits.toString(16).padStart(16, "0")}\n`)].sort();
  expect(of(0n)).toEqual([]);
  expect(of((1n << 39n) | (1n << 12n))).toEqual(["BPF", "NET_ADMIN"]);
  expect(of(1n << 21n)).toEqual(["BPF", "PERFMON", "SYS_ADMIN"]);
});

test("cgroup2 mounts among others, with spaces in their names", () => {
  const mountinfo = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
42 31 0:38 /../../.. /host\\040cgroup rw - cgroup2 none rw
`;
  expect(cgroup2Mounts(mountinfo)).toEqual([
    { dir: "/sys/fs/cgroup/unified", root: "/" },
    { dir: "/host cgroup", root: "/../../.." },
  ]);
});

test("listening ports", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:7580 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:C000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
`;
  expect(portsInState(table, "0A")).toEqual([8080, 30080]);
  expect(portsInState("00000000000000000000000000000000:0000", "0A")).toEqual([]);
});

test("whether a process is below our cgroup namespace's root", () => {
  expect(isInside("4:memory:/x\n0::/\n")).toBe(true);
  expect(isInside("0::/init.scope\n")).toBe(true);
  expect(isInside("0::/..\n")).toBe(false);
  expect(isInside("0::/../../system.slice\n")).toBe(false);
  expect(isInside("4:memory:/\n")).toBe(false);
});
