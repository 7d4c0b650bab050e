// SPDX-License-Identifier: Apache-2.0
// Which portolan this is.

import { readFileSync } from "node:fs";
import type { CommandSpec } from "./usage.ts";

/** Put in by the bundler; a run from the sources reads package.json. */
declare const PORTOLAN_VERSION: string | undefined;

export const VERSION: string =
  typeof PORTOLAN_VERSION === "string"
    ? PORTOLAN_VERSION
    : (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;

export const versionCommand: CommandSpec = {
  usage: "version",
  summary: "print the versions of portolan, Node.js and libbpf",
  details: "",
  flags: [],
  async run() {
    const { probe } = await import("libbpf-ts");
    process.stdout.write(`portolan ${VERSION}, Node.js ${process.version}, libbpf ${probe.libbpfVersion()}\n`);
    return 0;
  },
};
