// SPDX-License-Identifier: Apache-2.0
// The namespace's devices, as the child programs need them.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { type BpfObject, RingBuffer } from "../../index.ts";

export function deviceIndex(name: string): number {
  return Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
}

/** A frame of each end to the other, of a protocol that nobody speaks. */
const SEND = `
import socket
for device in ("lt0", "lt1"):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((device, 0))
    s.send(b"\\xff" * 6 + b"\\x02" + bytes(5) + b"\\x88\\xb5" + bytes(46))
`;

/** The lengths that the program "emit" recorded of packets that cross lt0, each way. */
export function recordsOfTraffic(object: BpfObject): number[] {
  const lengths: number[] = [];
  using map = object.map("events");
  using ring = new RingBuffer(map, (data) => lengths.push(new DataView(data.buffer).getUint32(0, true)));
  for (let i = 0; i < 100 && ring.consume() === 0; i++) {
    execFileSync("python3", ["-c", SEND]);
    execFileSync("sleep", ["0.1"]);
  }
  return lengths;
}

/** Names of the programs on a device's clsact hooks. */
export function attachedPrograms(name: string): string[] {
  const shown = JSON.parse(execFileSync("bpftool", ["-j", "net", "show", "dev", name], { encoding: "utf8" }));
  return shown.flatMap((entry: { tc: { name: string }[] }) => entry.tc.map((tc) => tc.name));
}
