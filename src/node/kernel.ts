// SPDX-License-Identifier: Apache-2.0
// What this kernel and this process can: release, capabilities, bpffs, the node's network namespace. Looks, changes nothing.

import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { sys } from "libbpf-ts";

const BPF_FS_MAGIC = 0xcafe4a11;
const CGROUP2_SUPER_MAGIC = 0x63677270;
const CAPABILITY_BITS = { NET_ADMIN: 12, SYS_ADMIN: 21, PERFMON: 38, BPF: 39 } as const;

export type Capability = keyof typeof CAPABILITY_BITS;

/** Oldest release portolan is stated for. */
export const OLDEST_KERNEL: readonly [number, number] = [5, 15];

/** "6.18.44-x" → [6, 18]; null if it does not begin like a release. */
export function parseRelease(text: string): readonly [major: number, minor: number] | null {
  const match = /^(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : null;
}

export function kernelRelease(): { readonly text: string; readonly oldEnough: boolean } {
  const text = release();
  const [major, minor] = parseRelease(text) ?? [0, 0];
  const [oldestMajor, oldestMinor] = OLDEST_KERNEL;
  return { text, oldEnough: major > oldestMajor || (major === oldestMajor && minor >= oldestMinor) };
}

/** Effective capabilities of a /proc/PID/status text. CAP_SYS_ADMIN stands in for CAP_BPF, as in the kernel. */
export function effectiveCapabilities(status: string): ReadonlySet<Capability> {
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const held = (Object.keys(CAPABILITY_BITS) as Capability[]).filter(
    (name) => (bits >> BigInt(CAPABILITY_BITS[name])) & 1n,
  );
  return new Set(held.includes("SYS_ADMIN") ? [...held, "BPF", "PERFMON"] : held);
}

export const ownCapabilities = (): ReadonlySet<Capability> =>
  effectiveCapabilities(readFileSync("/proc/self/status", "utf8"));

/** What a directory is, of the file systems that matter here. */
export function fileSystem(dir: string): "bpf" | "cgroup2" | "other" | "missing" {
  if (!existsSync(dir)) return "missing";
  const type = sys.statfsType(dir) >>> 0;
  return type === BPF_FS_MAGIC ? "bpf" : type === CGROUP2_SUPER_MAGIC ? "cgroup2" : "other";
}

/** Identifies the network namespace this process is in: the node's, as the agent runs there. */
export const ownNetnsCookie = (): bigint => sys.netnsCookie();
