// SPDX-License-Identifier: Apache-2.0
// One command of the command line: its flags, its help, and every mistake in its use at once.

import { type Command, Option } from "commander";

export const EXIT = { OK: 0, FAILED: 1, USAGE: 2, REFUSED: 78 } as const;

/** A command line that cannot be understood; all that is wrong with it. Exit status 2. */
export class UsageError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "UsageError";
    this.problems = problems;
  }
}

/** Values by camel-case name; a flag without a value is true. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>;

export interface FlagSpec {
  /** As commander writes it: "--run-dir <DIR>". */
  readonly flags: string;
  readonly description: string;
  /** Environment variable that stands in for it. */
  readonly env?: string;
  /** Heading in the help text, instead of "Options:". */
  readonly group?: string;
  /** Left out of the help text. */
  readonly hidden?: boolean;
  /** Given several times, the values are joined with commas. */
  readonly list?: boolean;
  /** An empty value is none instead of a mistake. */
  readonly mayBeEmpty?: boolean;
  /** What is wrong with a value, or null. */
  check?(value: string): string | null;
}

export interface CommandSpec {
  /** Name and arguments: "get <what>". */
  readonly usage: string;
  readonly summary: string;
  /** Paragraphs below the options. */
  readonly details: string;
  readonly flags: readonly FlagSpec[];
  /** Exit status for wrong usage, if it is not EXIT.USAGE. */
  readonly usageStatus?: number;
  /** Its arguments as they are to be read, if people write them in another way. */
  prepare?(args: readonly string[]): readonly string[];
  /** Runs the command and gives its exit status. */
  run(flags: Flags, args: readonly string[]): Promise<number>;
}

export const RUN_DIR: FlagSpec = {
  flags: "--run-dir <DIR>",
  description: "where the agent's control socket is (default: /run/portolan)",
  env: "PORTOLAN_RUN_DIR",
};
export const BPFFS: FlagSpec = {
  flags: "--bpffs <DIR>",
  description: "the bpffs mount that holds the pins (default: /sys/fs/bpf)",
  env: "PORTOLAN_BPFFS",
};
export const OUTPUT: FlagSpec = {
  flags: "-o, --output <FORMAT>",
  description: "table, wide, json or yaml (default: table)",
  check: (value) => oneOf(value, ["table", "wide", "json", "yaml"]),
};
export const NO_HEADERS: FlagSpec = { flags: "--no-headers", description: "leave out the line of column titles" };

/** For FlagSpec.check. */
export function oneOf(value: string, choices: readonly string[]): string | null {
  return choices.includes(value)
    ? null
    : `must be ${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}, is "${value}"`;
}

/** Adds a command; `done` gets its exit status. */
export function addCommand(program: Command, spec: CommandSpec, done: (status: number) => void): void {
  // Unknown flags and surplus arguments are let through here, so that they can be told together with the rest.
  const command = program.command(spec.usage).summary(spec.summary).description(spec.summary);
  command.allowUnknownOption().allowExcessArguments();
  if (spec.details !== "") command.addHelpText("after", `\n${spec.details.trim()}\n`);
  command.showHelpAfterError(`See: portolan ${command.name()} --help`);
  command.configureHelp({ optionTerm: (option) => option.flags.replace(` [${SWITCH_VALUE}]`, "") });
  for (const flag of spec.flags) command.addOption(optionOf(flag));
  command.action(async () => {
    const flags = command.opts<Flags>();
    const named = command.registeredArguments.length;
    const problems = [...strays(command.args, named), ...invalid(command, spec.flags, flags)];
    if (problems.length > 0) throw new UsageError(problems);
    done(await spec.run(flags, command.args));
  });
}

/** What a switch may be given after "=": `--cleanup` and `--cleanup [BOOL]` are the same to those who read the help. */
export const SWITCH_VALUE = "BOOL";

function optionOf(spec: FlagSpec): Option {
  const { flags, description, env, group, hidden = false, list = false } = spec;
  const option = new Option(flags, description).hideHelp(hidden);
  if (env !== undefined) option.env(env);
  if (group !== undefined) option.helpGroup(group);
  // The last one counts, unless one before was wrong: that is to be told.
  return option.argParser((value: string, before: string | undefined) => {
    if (list) return before ? `${before},${value}` : value;
    return before !== undefined && mistakeIn(spec, before) !== null ? before : value;
  });
}

/** What is wrong with a value, or null. */
function mistakeIn(spec: FlagSpec, value: string): string | null {
  if (value === "") return spec.mayBeEmpty ? null : "must not be empty";
  return spec.check?.(value) ?? null;
}

/** Unknown flags, and arguments beyond the named ones; a word after an unknown flag is taken for its value. */
function strays(args: readonly string[], named: number): string[] {
  const problems: string[] = [];
  let words = 0;
  let afterUnknown = false;
  for (const arg of args) {
    if (arg.startsWith("-") && arg !== "-") problems.push(`unknown flag ${arg.split("=")[0]}`);
    else if (!afterUnknown && arg !== "" && ++words > named) problems.push(`unexpected argument "${arg}"`);
    afterUnknown = arg.startsWith("-") && !arg.includes("=");
  }
  return problems;
}

function invalid(command: Command, specs: readonly FlagSpec[], flags: Flags): string[] {
  return specs.flatMap((spec, i) => {
    const option = command.options[i];
    const value = option ? flags[option.attributeName()] : undefined;
    if (option === undefined || typeof value !== "string") return [];
    const problem = mistakeIn(spec, value);
    const source =
      command.getOptionValueSource(option.attributeName()) === "env" ? `${spec.env}` : `--${option.name()}`;
    return problem ? [`${source}: ${problem}`] : [];
  });
}

/** True for `--flag` and `--flag=true`. */
export function isOn(flags: Flags, name: string): boolean {
  const value = flags[name];
  return value === true || (typeof value === "string" && switchValue(value) === true);
}

/** The boolean that a word stands for, as Go reads them; null if it is none. */
export function switchValue(word: string): boolean | null {
  if (/^(?:1|t|T|TRUE|true|True)$/.test(word)) return true;
  return /^(?:0|f|F|FALSE|false|False)$/.test(word) ? false : null;
}

/** A flag's text, or what holds without it. */
export function textFlag<T>(flags: Flags, name: string, otherwise: T): string | T {
  const value = flags[name];
  return typeof value === "string" ? value : otherwise;
}
