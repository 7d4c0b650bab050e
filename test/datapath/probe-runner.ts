// SPDX-License-Identifier: Apache-2.0
// A process of its own that runs a loaded program over and over, until its parent closes its stdin:
// node probe-runner.ts PROGRAM-ID.

import { BpfProgram } from "libbpf-ts";
import { runProgram } from "./probe.ts";

const CHUNK = 2000;
const [id = 0] = process.argv.slice(2).map(Number);
let ended = false;
process.stdin.on("end", () => {
  ended = true;
});
process.stdin.resume();

using program = BpfProgram.openById(id);
while (!ended) {
  runProgram(program, CHUNK);
  await new Promise(setImmediate);
}
process.stdin.destroy();
