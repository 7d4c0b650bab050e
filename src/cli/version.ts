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

/** All that is known of this build, in the form of kube-proxy's --version=raw. */
export async function describeBuild(): Promise<string> {
  const { probe } = await import("libbpf-ts");
  const [major, minor] = VERSION.split(".");
  const fields = {
    Major: major,
    Minor: minor,
    GitVersion: `v${VERSION}`,
    NodeVersion: process.version,
    LibbpfVersion: probe.libbpfVersion(),
    Platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
  };
  return `version.Info{${Object.entries(fields)
    .map(([name, value]) => `${name}:${JSON.stringify(value)}`)
    .join(", ")}}`;
}

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
