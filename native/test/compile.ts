// SPDX-License-Identifier: Apache-2.0
// Before all tests: compiles the test objects.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const SOURCES = ["test", "broken", "iterator"];
const here = fileURLToPath(new URL(".", import.meta.url));

/** The path of a compiled object: objectPath("test"). */
export function objectPath(name: string): string {
  return `${here}.output/${name}.bpf.o`;
}

export function setup(): void {
  mkdirSync(`${here}.output`, { recursive: true });
  const multiarch = execFileSync("gcc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  for (const name of SOURCES) {
    const flags = ["-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", `-I/usr/include/${multiarch}`];
    execFileSync("clang-19", [...flags, "-c", `${here}${name}.bpf.c`, "-o", objectPath(name)], { stdio: "inherit" });
  }
  // From here on vitest starts the processes that run tests: a sanitizer's library goes into them, not into vitest.
  const preload = process.env["LIBBPF_TS_PRELOAD"];
  if (preload !== undefined) process.env["LD_PRELOAD"] = preload;
}
