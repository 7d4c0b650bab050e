// SPDX-License-Identifier: Apache-2.0
// A process that loads the objects about dead peers with whatever capabilities it was given, puts the program that fails
// sends on a cgroup, and prints verified instructions by program as JSON, or the error's code under the object's name:
// node load-dead-peers.ts CGROUP.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BpfError, BpfObject } from "libbpf-ts";
import { SIZES } from "./hooks.ts";

const [cgroup = ""] = process.argv.slice(2);
const programs: Record<string, number> = {};
const failures: Record<string, string> = {};
for (const name of ["kill", "overflow", "quench"]) {
  try {
    using object = BpfObject.open(join(import.meta.dirname, "../../dist/bpf", `${name}.bpf.o`));
    const own = new Set(object.maps.map((map) => map.name));
    for (const [map, size] of Object.entries(SIZES)) if (own.has(map)) object.setMaxEntries(map, size);
    object.load();
    for (const { name: program, expectedAttachType } of object.programs) {
      using loaded = object.program(program);
      programs[program] = loaded.info.verifiedInstructions;
      if (expectedAttachType.startsWith("cgroup_")) loaded.attachCgroup(cgroup, expectedAttachType).close();
    }
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    if (error.code !== "EPERM") console.error(error.log);
    failures[name] = error.code;
  }
}
const capabilities = /^CapEff:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
console.log(JSON.stringify({ capabilities, programs, failures }));
