// SPDX-License-Identifier: Apache-2.0
// Processes with sockets, steered line by line (actor.c says what they understand).

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";

const SOURCE = join(import.meta.dirname, "actor.c");

/** Compiles actor.c into the directory; returns the program's path. */
export function buildActor(directory: string): string {
  const program = join(directory, "actor");
  execFileSync("cc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE]);
  return program;
}

export interface ActorOptions {
  readonly program: string;
  /** Network namespace by name. */
  readonly netns: string;
  /** The cgroup directory to live in; null: stay in the test's. */
  readonly cgroup: string | null;
}

export class Actor {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor({ program, netns, cgroup }: ActorOptions) {
    const join = cgroup === null ? "" : `echo $$ > ${cgroup}/cgroup.procs && `;
    this.#child = spawn("sh", ["-c", `${join}exec ip netns exec ${netns} ${program}`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    if (this.#child.stdout === null) throw new Error("no pipe from the actor");
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Carries out one line; resolves to "ok", "ok VALUE…" or an errno's name. */
  async ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the actor ended at: ${line}`);
    return value as string;
  }

  /** Carries out lines that must all succeed; resolves to the last answer without its "ok". */
  async do(...lines: readonly string[]): Promise<string> {
    let answer = "ok";
    for (const line of lines) {
      answer = await this.ask(line);
      if (!/^ok\b/.test(answer)) throw new Error(`${line}: ${answer}`);
    }
    return answer.slice(3);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
    this.#lines.close();
  }
}
