// SPDX-License-Identifier: Apache-2.0
// Compiles the test objects once before all tests.
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
}
