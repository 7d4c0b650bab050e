// SPDX-License-Identifier: Apache-2.0
// A program that says a line, waits for one, and ends.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { placed } from "../test/support/daemon.ts";

export class Interactive {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exited: Promise<void>;
  #errors = "";

  constructor(argv: readonly string[]) {
    const [file, ...args] = placed(argv);
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"] });
    const reader: Interface = createInterface({ input: child.stdout });
    this.#child = child;
    this.#lines = reader[Symbol.asyncIterator]();
    child.stderr.on("data", (text: Buffer) => {
      this.#errors += text.toString();
    });
    this.#exited = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => resolve());
    });
  }

  /** Waits for its next line, which must be this one. */
  async line(expected: string): Promise<void> {
    const { value } = (await this.#lines.next()) as { value: string | undefined };
    if (value === expected) return;
    this.kill();
    throw new Error(`expected "${expected}", got "${value ?? "the end"}": ${this.#errors}`);
  }

  /** Lets it go on, waits for its last line and its end. */
  async end(expected: string): Promise<void> {
    this.#child.stdin?.end("\n");
    await this.line(expected);
    await this.#exited;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
