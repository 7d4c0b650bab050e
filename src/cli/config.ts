// SPDX-License-Identifier: Apache-2.0
// portolan config: looks at configuration files of both kinds, and turns one kind into the other. Starts nothing.

import { readFile } from "node:fs/promises";
import { defaultConfig, HEADER, type ParsedConfig, parseConfig } from "../config/config.ts";
import { difference, differingPaths } from "../config/difference.ts";
import { yamlText } from "../config/kube-proxy/text.ts";
import { wireFile } from "../config/kube-proxy/wire.ts";
import { KIND as KUBE_PROXY } from "../config/kube-proxy/wire-schema.ts";
import { withoutEffect } from "../config/without-effect.ts";
import { type CommandSpec, EXIT, type Flags, oneOf, textFlag, UsageError } from "./usage.ts";

export const configCommand: CommandSpec = {
  usage: "config <action> <file>",
  summary: "check a configuration file, or convert it between kube-proxy's kind and portolan's",
  details: `
config check FILE      says what is wrong with it, and what it says without effect
config convert FILE    prints it as the other kind; what that has no word for is named on standard error

FILE may be a PortolanConfiguration or a KubeProxyConfiguration, YAML or JSON. A converted PortolanConfiguration holds what
is not the default; a converted KubeProxyConfiguration holds every field.

Examples:
  portolan config check /var/lib/kube-proxy/config.conf
  portolan config convert --to portolan /var/lib/kube-proxy/config.conf >config.yaml
  portolan config convert --to kube-proxy config.yaml

Exit status: 0 done, 1 the file has problems, 2 wrong usage.
`,
  flags: [
    {
      flags: "--to <KIND>",
      description: "kube-proxy or portolan; for convert",
      check: (value) => oneOf(value, ["kube-proxy", "portolan"]),
    },
  ],
  run,
};

async function run(flags: Flags, [action = "", file = ""]: readonly string[]): Promise<number> {
  const to = textFlag(flags, "to", "");
  const problems = oneOf(action, ["check", "convert"]);
  if (problems !== null) throw new UsageError([`action ${problems}`]);
  if (action === "convert" && to === "") throw new UsageError(["--to: convert needs it: kube-proxy or portolan"]);
  const parsed = await parseConfig(file, await readFile(file, "utf8"));
  const notes = action === "check" ? [...parsed.notes, ...withoutEffect(parsed.config)] : parsed.notes;
  for (const note of notes) process.stderr.write(`portolan: ${note}\n`);
  if (action === "check") {
    process.stdout.write(`${file}: a ${parsed.kind}, and nothing is wrong with it\n`);
    return EXIT.OK;
  }
  process.stdout.write(to === "portolan" ? await asPortolan(parsed) : await asKubeProxy(parsed));
  return EXIT.OK;
}

async function asPortolan({ config }: ParsedConfig): Promise<string> {
  return await yamlText({ ...HEADER, ...difference(config, defaultConfig()) });
}

async function asKubeProxy({ config }: ParsedConfig): Promise<string> {
  // What nobody said is JSON here, and a KubeProxyConfiguration has to say it.
  const complete = { ...config, logFormat: config.logFormat ?? ("json" as const) };
  const text = await yamlText(wireFile(complete));
  const { config: again } = await parseConfig("converted", text);
  // A number for the level is always written.
  const lost = differingPaths(complete, again).filter((path) => path !== "kubeProxy.logging.verbosity");
  for (const path of lost) process.stderr.write(`portolan: ${path} has no counterpart in a ${KUBE_PROXY}: left out\n`);
  return text;
}
