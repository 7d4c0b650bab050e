// SPDX-License-Identifier: Apache-2.0
// What the machine is, as far as a figure depends on it. No names, no paths.

import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { command } from "../test/support/daemon.ts";

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGiB: number;
  /** The branch predictor's mitigation: netfilter's indirect calls depend on it. */
  readonly spectreV2: string;
  readonly node: string;
  readonly iptables: string;
  readonly nft: string;
}

const firstLine = async (argv: readonly string[]): Promise<string> =>
  ((await command(argv)).split("\n")[0] ?? "").trim();

export async function machineFacts(): Promise<Machine> {
  const cpu = cpus();
  const family = /^cpu family\s*: (\d+)/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return {
    kernel: release().split("-")[0] ?? "",
    cpu: `${cpu[0]?.model.trim()}${family ? ` (family ${family})` : ""}`,
    cpus: cpu.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    spectreV2: readFileSync("/sys/devices/system/cpu/vulnerabilities/spectre_v2", "utf8").trim(),
    node: process.version,
    iptables: await firstLine(["iptables", "--version"]),
    nft: await firstLine(["nft", "--version"]),
  };
}
