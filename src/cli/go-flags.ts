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
  const named = (end: string) => new Set(specs.flatMap(({ flags }) => (flags.endsWith(end) ? [nameOf(flags)] : [])));
  const [switches, wanting] = [named("]"), named(">")];
  const read: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--") return [...read, ...args.slice(i)];
    const arg = goArgument(args[i] ?? "", switches);
    // The next word is its value, whatever it looks like.
    const value = wanting.has(arg) ? args[i + 1] : undefined;
    if (value !== undefined) i++;
    read.push(value === undefined ? arg : `${arg}=${value}`);
  }
  return read;
}

/** "-v, --v <LEVEL>" → "--v". */
export const nameOf = (flags: string): string => /--[a-z-]+/.exec(flags)?.[0] ?? "";

function goArgument(arg: string, switches: ReadonlySet<string>): string {
  if (arg === "-v" || arg.startsWith("-v=")) return `-${arg}`;
  const [, name = "", value = ""] = /^(--[^=]+)(=.*)?$/s.exec(arg) ?? [];
  if (name === "") return arg;
  const dashed = name.replaceAll("_", "-");
  return value === "" && switches.has(dashed) ? `${dashed}=true` : dashed + value;
}
