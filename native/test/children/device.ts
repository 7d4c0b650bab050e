// SPDX-License-Identifier: Apache-2.0
// The namespace's devices, as the child programs need them.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { type BpfObject, RingBuffer } from "../../index.ts";

export function deviceIndex(name: string): number {
  return Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
}

/** The lengths that the program "emit" recorded of packets that cross lt0, each way. */
export function recordsOfTraffic(object: BpfObject): number[] {
  const lengths: number[] = [];
  using map = object.map("events");
  using ring = new RingBuffer(map, (data) => lengths.push(new DataView(data.buffer).getUint32(0, true)));
  // A device that comes up announces itself (IPv6 duplicate address detection, multicast reports) on both ends.
  for (const device of ["lt0", "lt1"]) {
    execFileSync("ip", ["link", "set", device, "down"]);
    execFileSync("ip", ["link", "set", device, "up"]);
  }
  for (let i = 0; i < 40 && ring.consume() === 0; i++) execFileSync("sleep", ["0.1"]);
  return lengths;
}

/** Names of the programs on a device's clsact hooks. */
export function attachedPrograms(name: string): string[] {
  const shown = JSON.parse(execFileSync("bpftool", ["-j", "net", "show", "dev", name], { encoding: "utf8" }));
  return shown.flatMap((entry: { tc: { name: string }[] }) => entry.tc.map((tc) => tc.name));
}
