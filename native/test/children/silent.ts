// SPDX-License-Identifier: Apache-2.0
// Makes libbpf complain, and shows what of it reached stderr.
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BpfObject } from "../../index.ts";

const path = join(tmpdir(), `libbpf-ts-stderr-${process.pid}`);
closeSync(2);
const fd = openSync(path, "w"); // takes the free number 2
if (fd !== 2) throw new Error(`got ${fd}`);
for (const file of ["/nonexistent", "/etc/passwd"]) {
  try {
    BpfObject.open(file);
  } catch {}
}
console.log(JSON.stringify({ stderr: readFileSync(path, "utf8") }));
rmSync(path);
