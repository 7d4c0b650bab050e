// SPDX-License-Identifier: Apache-2.0
// Where the BPF objects are: beside the bundled program, or where a run from the sources says.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The compiled socket programs. Throws if they are nowhere: an incomplete installation. */
export const socketObject = (): string => objectFile("sock");

/** What ends sockets, lists records, and fails what is sent to endpoints that are gone; likewise. */
export const killObject = (): string => objectFile("kill");
export const overflowObject = (): string => objectFile("overflow");
export const quenchObject = (): string => objectFile("quench");

function objectFile(name: "sock" | "kill" | "overflow" | "quench"): string {
  const dir = process.env["PORTOLAN_BPF_DIR"] ?? fileURLToPath(new URL("./bpf", import.meta.url));
  const file = join(dir, `${name}.bpf.o`);
  if (!existsSync(file))
    throw new Error(`${file} is missing: the installation is incomplete (PORTOLAN_BPF_DIR may name the folder)`);
  return file;
}
