// SPDX-License-Identifier: Apache-2.0
// Where the BPF objects are: beside the bundled program, or where a run from the sources says.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The compiled socket programs. Throws if they are nowhere: an incomplete installation. */
export function socketObject(): string {
  const dir = process.env["PORTOLAN_BPF_DIR"] ?? fileURLToPath(new URL("./bpf", import.meta.url));
  const file = join(dir, "sock.bpf.o");
  if (!existsSync(file))
    throw new Error(`${file} is missing: the installation is incomplete (PORTOLAN_BPF_DIR may name the folder)`);
  return file;
}
