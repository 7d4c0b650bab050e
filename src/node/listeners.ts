// SPDX-License-Identifier: Apache-2.0
// Which ports processes of this network namespace hold, as /proc/net tells.

import { readFileSync } from "node:fs";
import { PROTOCOL, type Protocol } from "../model/types.ts";

const TCP_LISTEN = "0A";
/** A UDP socket without a peer has the state number of TCP_CLOSE. */
const UDP_UNCONNECTED = "07";

export interface Listener {
  readonly protocol: Protocol;
  readonly port: number;
}

const TABLES = [
  { file: "tcp", protocol: PROTOCOL.TCP, state: TCP_LISTEN },
  { file: "tcp6", protocol: PROTOCOL.TCP, state: TCP_LISTEN },
  { file: "udp", protocol: PROTOCOL.UDP, state: UDP_UNCONNECTED },
  { file: "udp6", protocol: PROTOCOL.UDP, state: UDP_UNCONNECTED },
] as const;

/** Local ports in a given state of a /proc/net/{tcp,udp}* text. */
export function portsInState(table: string, state: string): number[] {
  return table.split("\n").flatMap((line) => {
    const [, local = "", , held] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.split(":")[1] ?? "", 16);
    return held === state && port > 0 ? [port] : [];
  });
}

/** Every listening TCP socket and every UDP socket without a peer; both families are one. */
export function listeners(): Listener[] {
  const found = new Map<string, Listener>();
  for (const { file, protocol, state } of TABLES) {
    for (const port of portsInState(read(`/proc/self/net/${file}`), state)) {
      found.set(`${protocol}/${port}`, { protocol, port });
    }
  }
  return [...found.values()];
}

/** A kernel without IPv6 has no table for it. */
function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
