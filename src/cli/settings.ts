// SPDX-License-Identifier: Apache-2.0
// Settings of an agent from the command line: flag or environment variable, then configuration file, then default.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { isSource } from "../config/checks.ts";
import { defaultConfig, parseConfig } from "../config/config.ts";
import type { Config } from "../config/schema.ts";
import { BPFFS, type FlagSpec, type Flags, oneOf, RUN_DIR, textFlag } from "./usage.ts";

export const DEFAULT_RUN_DIR = "/run/portolan";
export const DEFAULT_BPFFS = "/sys/fs/bpf";
export const DEFAULT_STATE_DIR = "/var/lib/portolan";

export const STATE_DIR: FlagSpec = {
  flags: "--state-dir <DIR>",
  description: "what survives a reboot: API servers' addresses (default: /var/lib/portolan)",
};

const CONFIG: FlagSpec = {
  flags: "--config <FILE>",
  description: "a PortolanConfiguration, YAML or JSON; flags win over it",
};

/** What preflight and run have in common. */
export const REPLACEMENT_FLAGS: readonly FlagSpec[] = [
  CONFIG,
  {
    flags: "--cgroup <DIR>",
    description: "serve the processes below this cgroup v2 directory (default: the whole node, found in mountinfo)",
  },
  BPFFS,
  {
    flags: "--replacement <MODE>",
    description: "strict: refuse to start beside another proxy (default); probe: start, and say so",
    check: (value) => oneOf(value, ["strict", "probe"]),
  },
];

export const RUN_FLAGS: readonly FlagSpec[] = [
  ...REPLACEMENT_FLAGS,
  { flags: "--kubeconfig <FILE>", description: "how to reach the API server (default: in-cluster credentials)" },
  {
    flags: "--source <SOURCE>",
    description: "kubernetes (default), or dir:PATH for a folder of manifests that is watched",
    check: (value) => (isSource(value) ? null : `must be kubernetes or dir:PATH, is "${value}"`),
  },
  { flags: "--hostname-override <NAME>", description: "this node's name in the cluster (default: the host name)" },
  RUN_DIR,
  STATE_DIR,
  { flags: "--recreate-maps", description: "replace pinned maps that do not match the configuration" },
];

/** Throws ConfigError for a file with problems, ENOENT if it is not there. */
export async function loadConfig(flags: Flags): Promise<Config> {
  const file = textFlag(flags, "config", null);
  const config = file === null ? defaultConfig() : (await parseConfig(file, await readFile(file, "utf8"))).config;
  return {
    ...config,
    source: sourceOf(textFlag(flags, "source", config.source)),
    kubeconfig: absolute(textFlag(flags, "kubeconfig", config.kubeconfig)),
    hostnameOverride: textFlag(flags, "hostnameOverride", config.hostnameOverride),
    cgroup: absolute(textFlag(flags, "cgroup", config.cgroup)),
    bpffs: resolve(textFlag(flags, "bpffs", config.bpffs)),
    runDir: resolve(textFlag(flags, "runDir", config.runDir)),
    stateDir: resolve(textFlag(flags, "stateDir", config.stateDir)),
    replacement: textFlag(flags, "replacement", config.replacement) === "probe" ? "probe" : "strict",
  };
}

const absolute = (path: string | null): string | null => (path === null ? null : resolve(path));

const sourceOf = (source: string): string => (source.startsWith("dir:") ? `dir:${resolve(source.slice(4))}` : source);
