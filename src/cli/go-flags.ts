// SPDX-License-Identifier: Apache-2.0
// Flags the way manifests of Go programs write them: `--name_with_underscores`, `--switch`, `--switch=false`, `-v=4`.

import { type FlagSpec, SWITCH_VALUE, switchValue } from "./usage.ts";

/** A switch that may be told its value; commander shall never take the next word for it. */
export const switchFlag = (name: string, description: string): FlagSpec => ({
  flags: `--${name} [${SWITCH_VALUE}]`,
  description,
  check: (value) => (switchValue(value) === null ? `must be true or false, is "${value}"` : null),
});

/** The arguments as commander has to see them. What stands behind "--" is left alone. */
export function goArguments(args: readonly string[], specs: readonly FlagSpec[]): string[] {
  const switches = new Set(
    specs.filter(({ flags }) => flags.endsWith("]")).map(({ flags }) => flags.split(" ")[0] ?? ""),
  );
  const end = args.indexOf("--");
  const flags = end < 0 ? args : args.slice(0, end);
  return [...flags.map((arg) => goArgument(arg, switches)), ...args.slice(flags.length)];
}

function goArgument(arg: string, switches: ReadonlySet<string>): string {
  if (arg.startsWith("-v=")) return `-${arg}`;
  const [, name = "", value = ""] = /^(--[^=]+)(=.*)?$/s.exec(arg) ?? [];
  if (name === "") return arg;
  const dashed = name.replaceAll("_", "-");
  return value === "" && switches.has(dashed) ? `${dashed}=true` : dashed + value;
}
