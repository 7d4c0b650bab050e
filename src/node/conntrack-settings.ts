// SPDX-License-Identifier: Apache-2.0
// Sysctls of the kernel's connection tracking, set as kube-proxy sets them, but only those that somebody asked for. The
// programs do not use connection tracking; the node's other traffic does.

import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

/** Null: nobody asked. 0 leaves a value alone, too. */
export interface ConntrackSettings {
  readonly maxPerCore: number | null;
  readonly min: number | null;
  readonly tcpEstablishedTimeoutSec: number | null;
  readonly tcpCloseWaitTimeoutSec: number | null;
  readonly tcpBeLiberal: boolean | null;
  readonly udpTimeoutSec: number | null;
  readonly udpStreamTimeoutSec: number | null;
}

/** Where the settings are; for a namespace's own, whoever calls is in it. */
export interface ConntrackPlace {
  /** The directory of the nf_conntrack_* files. */
  readonly sysctls: string;
  /** The file with the number of hash buckets. */
  readonly hashSize: string;
  readonly cpus: number;
}

export const conntrackPlace = (): ConntrackPlace => ({
  sysctls: "/proc/sys/net/netfilter",
  hashSize: "/sys/module/nf_conntrack/parameters/hashsize",
  cpus: cpus().length,
});

/** One value that was changed. */
export interface ConntrackChange {
  readonly name: string;
  readonly value: number;
}

/** A setting that was asked for and cannot be had. */
export class ConntrackError extends Error {
  constructor(name: string, value: number, cause: unknown) {
    super(`conntrack: ${name} cannot be set to ${value}: ${(cause as Error).message}`, { cause });
    this.name = "ConntrackError";
  }
}

const DEFAULT_PER_CORE = 32_768;
const DEFAULT_MIN = 131_072;
/** More is taken for a mistake of multiplying: each entry is memory of the kernel. */
const MOST_BY_CPUS = 1_048_576;

/** Sets what was asked for and is not so yet. Throws ConntrackError. */
export function setConntrack(settings: ConntrackSettings, place: ConntrackPlace = conntrackPlace()): ConntrackChange[] {
  const changes: ConntrackChange[] = [];
  const set = (name: string, value: number): void => {
    const file = join(place.sysctls, name);
    if (write(name, file, value, (present) => present === value)) changes.push({ name, value });
  };
  const max = conntrackMax(settings, place.cpus);
  if (max > 0) {
    set("nf_conntrack_max", max);
    const buckets = Math.floor(max / 4);
    if (write("hashsize", place.hashSize, buckets, (present) => present >= buckets))
      changes.push({ name: "hashsize", value: buckets });
  }
  for (const [name, sec] of timeouts(settings)) if (sec !== null && sec >= 1) set(name, Math.floor(sec));
  if (settings.tcpBeLiberal === true) set("nf_conntrack_tcp_be_liberal", 1);
  return changes;
}

/** Entries for this many CPUs; 0: leave the limit as it is. */
export function conntrackMax({ maxPerCore, min }: ConntrackSettings, cpuCount: number): number {
  if (maxPerCore === null && min === null) return 0;
  const perCore = maxPerCore ?? DEFAULT_PER_CORE;
  if (perCore === 0) return 0;
  const scaled = perCore * cpuCount;
  return scaled > MOST_BY_CPUS ? MOST_BY_CPUS : Math.max(scaled, min ?? DEFAULT_MIN);
}

const timeouts = (settings: ConntrackSettings) =>
  [
    ["nf_conntrack_tcp_timeout_established", settings.tcpEstablishedTimeoutSec],
    ["nf_conntrack_tcp_timeout_close_wait", settings.tcpCloseWaitTimeoutSec],
    ["nf_conntrack_udp_timeout", settings.udpTimeoutSec],
    ["nf_conntrack_udp_timeout_stream", settings.udpStreamTimeoutSec],
  ] as const;

/** Writes a value unless the present one is `good`; says whether it did. */
function write(name: string, file: string, value: number, good: (present: number) => boolean): boolean {
  try {
    if (good(Number(readFileSync(file, "utf8")))) return false;
    writeFileSync(file, `${value}`);
    return true;
  } catch (error) {
    throw new ConntrackError(name, value, error);
  }
}
