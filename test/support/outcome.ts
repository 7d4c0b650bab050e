// SPDX-License-Identifier: Apache-2.0
// What came of a check in a world, in one form for all worlds, so that equal texts mean equal behaviour: chance is taken
// out (which of several endpoints), the rest is kept.

import { isIPv6 } from "node:net";
import type { Tally } from "./actor.ts";
import type { Check } from "./checks.ts";
import type { SetWord } from "./frontend-line.ts";
import type { World } from "./world.ts";
import { POD_ADDRESSES } from "./world-network.ts";

export const REFUSED = "refused";
export const SILENT = "silent";

const ERROR_WORDS: Readonly<Record<string, string>> = { ECONNREFUSED: REFUSED, TIMEOUT: SILENT };

export interface Patience {
  /** Before a call counts as silent. */
  readonly timeoutMs: number;
}

/** Which endpoint each affine check got, by its text: what affinity has to keep from one step to the next. */
export interface AffinityMemory {
  readonly before: ReadonlyMap<string, string>;
  readonly now: Map<string, string>;
}

/** portolan's pods keep their address. */
const FROM_POD = "the pod's";

const isPod = (address: string): boolean => POD_ADDRESSES.some((own) => own === address);

/** The text of `expected`, as a world that does what the lines say would give it. */
export function expectedOutcome({ kind, expected, sticks }: Check): string {
  if (kind === "caller's address") return FROM_POD;
  if (expected === "reject") return REFUSED;
  if (expected === "drop") return SILENT;
  return sticks ? oneOf(expected) : [...expected].sort().join(" ");
}

const oneOf = (set: readonly string[]): string =>
  set.length === 1 ? String(set[0]) : `one of ${[...set].sort().join(" ")}`;

/** Enough calls that a set of this size shows all its members, and would show one too many. */
function timesFor(expected: SetWord, sticks: boolean): number {
  if (!Array.isArray(expected)) return sticks ? 2 : 4;
  return sticks ? 8 : 8 + 8 * expected.length;
}

/**
 * Over IPv6 a TCP client in this world hears of kube-proxy's refusal with its second SYN only, a second after the first:
 * the ICMPv6 error to the first comes while connect() still holds the socket.
 */
const SECOND_SYN_MS = 1_200;

function timeoutOf({ protocol, targets, expected }: Check, { timeoutMs }: Patience): number {
  const late = protocol === "TCP" && expected === "reject" && targets.some(({ address }) => isIPv6(address));
  return late ? Math.max(timeoutMs, SECOND_SYN_MS) : timeoutMs;
}

/** Makes the calls and puts what came of them in words. */
export async function tryCheck(
  world: World,
  check: Check,
  memory: AffinityMemory,
  patience: Patience,
): Promise<string> {
  const { protocol, style, targets, source, sticks, expected } = check;
  const times = check.kind === "caller's address" ? 4 : timesFor(expected, sticks);
  const timeoutMs = timeoutOf(check, patience);
  const calls = { protocol, style, targets, source, times, oneByOne: sticks, timeoutMs };
  return outcomeOf(check, await world[check.caller].call(calls), memory);
}

function outcomeOf(check: Check, { answers, errors, callers }: Tally, memory: AffinityMemory): string {
  if (check.kind === "caller's address" && callers.length > 0) {
    return [...new Set(callers.map((address) => (isPod(address) ? FROM_POD : "the node's")))].sort().join(" ");
  }
  const reached = Object.keys(answers).sort();
  const failed = Object.keys(errors).map((error) => ERROR_WORDS[error] ?? error);
  const set = Array.isArray(check.expected) ? (check.expected as readonly string[]) : [];
  const [only = ""] = reached;
  if (!check.sticks || failed.length > 0 || reached.length !== 1 || !set.includes(only)) {
    return [...reached, ...failed.sort()].join(" ");
  }
  const before = memory.before.get(check.text);
  if (check.affine) memory.now.set(check.text, only);
  if (before !== undefined && before !== only && set.includes(before)) return `${only}, though ${before} still serves`;
  return oneOf(set);
}
