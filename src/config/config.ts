// SPDX-License-Identifier: Apache-2.0
// From a configuration file of either kind to settings: every problem of it at once, each with its path.

import * as v from "valibot";
import { readDocument } from "./document.ts";
import { parseKubeProxy } from "./kube-proxy/parse.ts";
import { KIND as KUBE_PROXY } from "./kube-proxy/wire-schema.ts";
import { ConfigError, type ConfigProblem, problemOf } from "./problem.ts";
import { type Config, type ConfigInput, portolanConfiguration } from "./schema.ts";

export const HEADER = { apiVersion: "portolan.io/v1alpha1", kind: "PortolanConfiguration" } as const;
const beginsWith = `a file begins with apiVersion: ${HEADER.apiVersion}, kind: ${HEADER.kind}`;

export interface ParsedConfig {
  readonly kind: typeof HEADER.kind | typeof KUBE_PROXY;
  readonly config: Config;
  /** What was passed over or has no effect, a sentence each. */
  readonly notes: readonly string[];
}

/** What holds without a file. */
export function defaultConfig(): Config {
  return configFrom("defaults", {});
}

/** Settings of a PortolanConfiguration's fields. Throws ConfigError, in which `origin` says where they came from. */
export function configFrom(origin: string, fields: ConfigInput): Config {
  return checked(origin, { ...HEADER, ...fields });
}

/** Settings from a file's text. Throws ConfigError. */
export async function parseConfig(file: string, text: string): Promise<ParsedConfig> {
  const { value, duplicates, continues, liberties } = await readDocument(file, text);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError(file, [{ path: "", message: `is not an object; ${beginsWith}` }]);
  const { apiVersion, kind } = value as { apiVersion?: unknown; kind?: unknown };
  if (kind === "ConfigMap")
    throw new ConfigError(file, [
      { path: "", message: "is a ConfigMap: give what is in its data (config.conf of kubeadm's)" },
    ]);
  if (typeof apiVersion === "string" && apiVersion.startsWith("kubeproxy.config.k8s.io/"))
    return { kind: KUBE_PROXY, ...parseKubeProxy({ file, value, duplicates, continues, defaults: defaultConfig() }) };
  if (liberties.length > 0) throw new ConfigError(file, liberties);
  return { kind: HEADER.kind, config: checked(file, value), notes: [] };
}

function checked(file: string, value: unknown): Config {
  const result = v.safeParse(portolanConfiguration, value);
  if (!result.success) throw new ConfigError(file, result.issues.map(toProblem));
  const { apiVersion: _, kind: __, ...config } = result.output;
  return config;
}

const toProblem = (issue: v.BaseIssue<unknown>): ConfigProblem => problemOf(issue, beginsWith);
