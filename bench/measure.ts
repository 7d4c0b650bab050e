// SPDX-License-Identifier: Apache-2.0
// Runs connect.c over a set of arms and gives its blocks as samples: nanoseconds a call, one sample a round.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Bed, CLIENT_CPU } from "./bed.ts";
import { type Arm, armsFile } from "./lane.ts";
import { Run } from "./statistics.ts";

const BLOCK = 20;

export interface Measured {
  /** ns in the first call: connect(), or the datagram's send. */
  readonly first: Run;
  /** ns of the whole exchange: connect() and close(), or send and answer. */
  readonly whole: Run;
  readonly rounds: number;
  readonly block: number;
  /** Arms in which a call failed or a peer was named other than it was called; empty in a run that counts. */
  readonly faults: readonly { readonly arm: string; readonly failures: number; readonly wrongPeers: number }[];
}

/** Reads what connect.c's write_results() wrote. */
function decode(bytes: Uint8Array, arms: readonly Arm[]): Measured {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const [armCount = 0, rounds = 0, block = 1] = words;
  if (armCount !== arms.length) throw new Error(`connect measured ${armCount} arms of ${arms.length}`);
  const first = new Map<string, Float64Array>();
  const whole = new Map<string, Float64Array>();
  const faults: Measured["faults"][number][] = [];
  arms.forEach(({ name }, index) => {
    const start = 3 + index * (2 + 2 * rounds);
    const [failures = 0, wrongPeers = 0] = words.subarray(start, start + 2);
    if (failures + wrongPeers > 0) faults.push({ arm: name, failures, wrongPeers });
    const sample = (round: number, part: number): number => (words[start + 2 + 2 * round + part] ?? 0) / block;
    first.set(
      name,
      Float64Array.from({ length: rounds }, (_, round) => sample(round, 0)),
    );
    whole.set(
      name,
      Float64Array.from({ length: rounds }, (_, round) => sample(round, 1)),
    );
  });
  return { first: new Run(first), whole: new Run(whole), rounds, block, faults };
}

/** One interleaved run over all arms. */
export async function measure(bed: Bed, program: string, arms: readonly Arm[], rounds: number): Promise<Measured> {
  const input = bed.write("arms", armsFile(arms));
  const output = join(bed.dir, "blocks");
  const seed = String(Date.now() % 1_000_000);
  const client = bed.daemon(
    [program, "run", input, output, String(rounds), String(BLOCK), seed, String(CLIENT_CPU)],
    "connect",
  );
  const exit = await client.exited;
  if (exit.code !== 0) throw new Error(`connect ended with ${exit.code ?? exit.signal}: ${client.log()}`);
  return decode(readFileSync(output), arms);
}
