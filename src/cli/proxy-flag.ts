// SPDX-License-Identifier: Apache-2.0
// What a flag of kube-proxy's is made of: its name, what may stand behind it, the settings it asks for.

import { goInteger } from "../config/go-number.ts";
import { parseDuration } from "../config/kube-proxy/duration.ts";
import type { ConfigInput } from "../config/schema.ts";
import { switchFlag } from "./go-flags.ts";
import { type FlagSpec, switchValue } from "./usage.ts";

export interface ProxyFlag extends FlagSpec {
  /** "logging" wins over a file; "configuration" says nothing where there is one. */
  readonly scope: "configuration" | "logging";
  /** Accepted, and without any effect here. */
  readonly inert?: boolean;
  /** What is wrong with a well-formed value, or null: asked only where it counts. */
  judge?(value: string, all: ConfigInput): string | null;
  /** The settings that a value asks for; `sofar` has those of the rows above. */
  fields(value: string, sofar: ConfigInput): ConfigInput;
}

export type Check = (value: string) => string | null;
type Judge = (value: string, all: ConfigInput) => string | null;
export type Fields = ProxyFlag["fields"];

const anything: Check = () => null;
const MAX_INT32 = 2 ** 31 - 1;

/** For `check`: what Go takes for 32 bits. */
export const integer: Check = (value) => {
  const number = goInteger(value);
  const right = number !== null && number >= -MAX_INT32 - 1 && number <= MAX_INT32;
  return right ? null : `must be a whole number, is "${value}"`;
};
/** For `fields`, after `integer`. */
export const integerOf = (value: string): number => goInteger(value) ?? 0;

/** For `judge`. */
export const between =
  (least: number, most: number): Check =>
  (value) => {
    const number = integerOf(value);
    return number >= least && number <= most ? null : `must be ${least} to ${most}, is ${value}`;
  };
export const fromZero = between(0, MAX_INT32);
export const duration: Check = (value) =>
  parseDuration(value) === null ? `must be a duration, as 30s or 1h5m, is "${value}"` : null;
export const secondsOf = (value: string): number => parseDuration(value) ?? 0;
/** For `judge`. */
export const notNegative: Check = (value) => (secondsOf(value) < 0 ? "must not be negative" : null);

interface Row {
  readonly name: string;
  readonly what: string;
  readonly value?: string;
  readonly check?: Check;
  readonly judge?: Judge;
  readonly fields: Fields;
  readonly more?: Partial<ProxyFlag>;
}

const GROUP = "kube-proxy's flags (with --config only the logging flags count):";

export const flag = ({
  name,
  value = "VALUE",
  what,
  check = anything,
  judge = anything,
  fields,
  more,
}: Row): ProxyFlag => ({
  flags: `--${name} <${value}>`,
  description: what,
  check,
  judge,
  fields,
  scope: "configuration",
  group: GROUP,
  // What is neither a number nor a duration may be no text at all, and says nothing then.
  mayBeEmpty: check !== integer && check !== duration,
  ...more,
});

export const onOff = (
  name: string,
  what: string,
  fields: (on: boolean, sofar: ConfigInput) => ConfigInput,
): ProxyFlag => ({
  ...switchFlag(name, what),
  scope: "configuration",
  group: GROUP,
  fields: (value, sofar) => fields(switchValue(value) === true, sofar),
});

export const list = { list: true } as const;
export const logging = { scope: "logging" } as const;

/** The items of a list; none for empty text. */
export const items = (value: string): string[] => value.split(",").filter((item) => item !== "");
