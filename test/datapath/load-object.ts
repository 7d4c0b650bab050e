// SPDX-License-Identifier: Apache-2.0
// A process that loads the socket programs with whatever capabilities it was given, attaches them if told where, and
// prints verified instructions by program as JSON: node load-object.ts OBJECT HAVE-SET-RETVAL [CGROUP].

import { readFileSync } from "node:fs";
import { BpfError, BpfObject } from "libbpf-ts";
import { HOOKS, SIZES } from "./hooks.ts";

const [file = "", haveSetRetval = "", cgroup] = process.argv.slice(2);
/** bpf_set_retval, or what stands for it in an object made for tests. */
const helper = process.env["PORTOLAN_TEST_HELPER"] ?? "187";
const capabilities = /^CapEff:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
try {
  using object = BpfObject.open(file);
  for (const [map, size] of Object.entries(SIZES)) object.setMaxEntries(map, size);
  object.setRodata("have_set_retval", haveSetRetval === "true");
  if (haveSetRetval !== "true") object.stubHelper(Number(helper), 0);
  object.load();
  const programs = Object.keys(HOOKS).map((name) => [name, object.program(name).info.verifiedInstructions]);
  if (cgroup !== undefined) {
    for (const [name, hook] of Object.entries(HOOKS)) object.program(name).attachCgroup(cgroup, hook).close();
  }
  console.log(JSON.stringify({ capabilities, programs: Object.fromEntries(programs) }));
} catch (error) {
  if (error instanceof BpfError) console.error(`${error.message}\n${error.log ?? ""}`);
  throw error;
}
