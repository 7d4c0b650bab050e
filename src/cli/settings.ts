// SPDX-License-Identifier: Apache-2.0
// Settings of an agent from the command line: portolan's flags and environment variables, then the configuration file or
// kube-proxy's flags, then defaults.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { isSource } from "../config/checks.ts";
import { configFrom, parseConfig } from "../config/config.ts";
import { validateLogging } from "../config/kube-proxy/validation.ts";
import { KIND as KUBE_PROXY } from "../config/kube-proxy/wire-schema.ts";
import { ConfigError } from "../config/problem.ts";
import type { Config, ConfigInput } from "../config/schema.ts";
import { withoutEffect } from "../config/without-effect.ts";
import { nameOf, switchFlag } from "./go-flags.ts";
import { merged } from "./merge.ts";
import type { ProxyFlag } from "./proxy-flag.ts";
import { PROXY_FLAGS } from "./proxy-flags.ts";
import { BPFFS, type FlagSpec, type Flags, oneOf, RUN_DIR, textFlag, UsageError } from "./usage.ts";

export const DEFAULT_RUN_DIR = "/run/portolan";
export const DEFAULT_BPFFS = "/sys/fs/bpf";
export const DEFAULT_STATE_DIR = "/var/lib/portolan";

export const STATE_DIR: FlagSpec = {
  flags: "--state-dir <DIR>",
  description: "what survives a reboot: API servers' addresses (default: /var/lib/portolan)",
};

const CONFIG: FlagSpec = {
  flags: "--config <FILE>",
  description: "a PortolanConfiguration or a KubeProxyConfiguration, YAML or JSON; portolan's own flags win over it",
  mayBeEmpty: true,
};

/** Where the objects come from. */
const SOURCE_FLAGS: readonly FlagSpec[] = [
  {
    flags: "--kubeconfig <FILE>",
    description:
      "how to reach the API server (default: $KUBECONFIG, the pod's service account, or ~/.kube/config); a KubeProxyConfiguration names its own",
    mayBeEmpty: true,
  },
  {
    flags: "--master <URL>",
    description:
      "an API server to ask before the kubeconfig's; without any kubeconfig the only one, asked without a login",
    mayBeEmpty: true,
  },
  {
    flags: "--source <SOURCE>",
    description: "kubernetes (default), or dir:PATH for a folder of manifests that is watched",
    check: (value) => (isSource(value) ? null : `must be kubernetes or dir:PATH, is "${value}"`),
  },
];

/** What preflight and run have in common. */
export const REPLACEMENT_FLAGS: readonly FlagSpec[] = [
  CONFIG,
  ...SOURCE_FLAGS,
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

export const AGENT_FLAGS: readonly FlagSpec[] = [
  ...REPLACEMENT_FLAGS,
  {
    flags: "--hostname-override <NAME>",
    description: "this node's name in the cluster (default: the host name)",
    check: (value) => (value.trim() === "" ? "must not be blank" : null),
    mayBeEmpty: true,
  },
  RUN_DIR,
  STATE_DIR,
  switchFlag("recreate-maps", "replace pinned maps that do not match the configuration"),
];

export interface Settings {
  readonly config: Config;
  /** The file they came from, and what stood in it. */
  readonly file: string | null;
  readonly text: string | null;
  /** What was given and has no effect, a sentence each. */
  readonly notes: readonly string[];
}

/** Throws ConfigError for settings with problems, ENOENT for a file that is not there. */
export async function loadSettings(flags: Flags): Promise<Settings> {
  const file = textFlag(flags, "config", "") || null;
  const given = PROXY_FLAGS.flatMap((spec) => {
    const value = textFlag(flags, attributeOf(spec), null);
    // A list may be asked to be empty; any other empty text says nothing.
    return value === null || (value === "" && !spec.list) ? [] : [{ spec, value, name: nameOf(spec.flags) }];
  });
  if (file === null) {
    judge(given);
    const config = withOwnFlags(checked("flags", configFrom("flags", fieldsOf(given))), flags);
    return { config, file, text: null, notes: [...inertNote(given), ...withoutEffect(config)] };
  }
  const logging = given.filter(({ spec }) => spec.scope === "logging");
  judge(logging);
  const text = await readFile(file, "utf8");
  const parsed = await parseConfig(file, text);
  const ignored = given.filter(({ spec }) => spec.scope === "configuration").map(({ name }) => ({ name }));
  const own = { ...flags };
  if (parsed.kind === KUBE_PROXY && textFlag(flags, "kubeconfig", "") !== "") {
    ignored.push({ name: "--kubeconfig" });
    delete own["kubeconfig"];
  }
  const config = withOwnFlags(checked(`${file} and flags`, withLogging(parsed.config, logging)), own);
  const ignoredNote = noteOf("is ignored: the file counts", "are ignored: the file counts", ignored);
  const notes = [...parsed.notes, ...ignoredNote, ...inertNote(logging), ...withoutEffect(config)];
  return { config, file, text, notes };
}

interface Given {
  readonly spec: ProxyFlag;
  readonly value: string;
  readonly name: string;
}

/** Throws UsageError for flags that count, are well-formed, and cannot hold. */
function judge(given: readonly Given[]): void {
  const all = fieldsOf(given);
  const problems = given.flatMap(({ spec, value, name }) => {
    const problem = value === "" ? null : (spec.judge?.(value, all) ?? null);
    return problem === null ? [] : [`${name}: ${problem}`];
  });
  if (problems.length > 0) throw new UsageError(problems);
}

/** Throws ConfigError for gates and settings of the log that do not go together. */
function checked(origin: string, config: Config): Config {
  const { featureGates, logging } = config.kubeProxy;
  const problems = validateLogging({ featureGates, logging: { ...logging, format: config.logFormat ?? "text" } });
  if (problems.length > 0) throw new ConfigError(origin, problems);
  return config;
}

function fieldsOf(given: readonly Given[]): ConfigInput {
  let fields: ConfigInput = {};
  for (const { spec, value } of given) fields = merged(fields, spec.fields(value, fields));
  return fields;
}

/** Flags win over the file; patterns of both are kept, the flags' first. */
function withLogging(config: Config, given: readonly Given[]): Config {
  const fields = fieldsOf(given);
  const vmodule = [...(fields.kubeProxy?.logging?.vmodule ?? []), ...config.kubeProxy.logging.vmodule];
  return merged(config, { ...fields, kubeProxy: merged(fields.kubeProxy ?? {}, { logging: { vmodule } }) });
}

function withOwnFlags(config: Config, flags: Flags): Config {
  const master = textFlag(flags, "master", "").replace(/\/+$/, "");
  return {
    ...config,
    source: sourceOf(textFlag(flags, "source", config.source)),
    kubeconfig: textFlag(flags, "kubeconfig", "") || config.kubeconfig,
    // As for kubectl, a mere host is asked over plain HTTP.
    apiServers: master === "" ? config.apiServers : [master.includes("://") ? master : `http://${master}`],
    hostnameOverride: textFlag(flags, "hostnameOverride", "").trim().toLowerCase() || config.hostnameOverride,
    cgroup: absolute(textFlag(flags, "cgroup", config.cgroup)),
    bpffs: resolve(textFlag(flags, "bpffs", config.bpffs)),
    runDir: resolve(textFlag(flags, "runDir", config.runDir)),
    stateDir: resolve(textFlag(flags, "stateDir", config.stateDir)),
    replacement: textFlag(flags, "replacement", config.replacement) === "probe" ? "probe" : "strict",
  };
}

const absolute = (path: string | null): string | null => (path === null ? null : resolve(path));

const sourceOf = (source: string): string => (source.startsWith("dir:") ? `dir:${resolve(source.slice(4))}` : source);

/** The flags that were given, by name without dashes, of those that are specified. */
export function givenFlags(flags: Flags, specs: readonly FlagSpec[]): Readonly<Record<string, string>> {
  const given = specs.flatMap((spec) => {
    const value = flags[attributeOf(spec)];
    return value === undefined ? [] : [[nameOf(spec.flags).slice(2), `${value}`] as const];
  });
  return Object.fromEntries(given);
}

/** As commander names its value: "--ipvs-scheduler" → "ipvsScheduler". */
const attributeOf = (spec: FlagSpec): string =>
  nameOf(spec.flags)
    .slice(2)
    .replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

const inertNote = (given: readonly Given[]): string[] =>
  noteOf(
    "has no effect here",
    "have no effect here",
    given.filter(({ spec }) => spec.inert),
  );

function noteOf(one: string, many: string, given: readonly { readonly name: string }[]): string[] {
  if (given.length === 0) return [];
  return [`${given.map(({ name }) => name).join(", ")} ${given.length === 1 ? one : many}`];
}
