// SPDX-License-Identifier: Apache-2.0
// A script of the tests' own as a process at some place (network namespace, cgroup), asked by JSON lines: requests on
// its standard input, answers in any order on its standard output.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { type Place, placed } from "./daemon.ts";

type Answer = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });

/** The near end. `ask` rejects with what the script threw, or when it has ended. */
export class LineProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;

  /** Starts `node SCRIPT ARGUMENTS`; its standard error is the test's. */
  constructor(name: string, argv: readonly string[], place: Place) {
    const [file, ...args] = placed([process.execPath, ...argv], place);
    this.name = name;
    this.#child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.once("exit", () => this.#fail());
    this.#child.stdin?.on("error", () => this.#fail());
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on("line", (line) => this.#settle(JSON.parse(line) as Answer));
    }
  }

  ask(request: object): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, answer);
    if (this.#ended) this.#fail();
    else this.#child.stdin?.write(`${JSON.stringify({ id, request })}\n`);
    return answer.promise;
  }

  async stop(): Promise<void> {
    if (this.#ended) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }

  #settle(answer: Answer): void {
    const waiting = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ("error" in answer) waiting?.reject(new Error(`${this.name}: ${answer.error}`));
    else waiting?.resolve(answer.result);
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #fail(): void {
    for (const waiting of this.#pending.values()) waiting.reject(new Error(`the process of ${this.name} has ended`));
    this.#pending.clear();
  }
}

/** The far end: answers every request with what `handle` gives, until standard input ends; then the process ends. */
export async function answerLines(handle: (request: never) => Promise<unknown>): Promise<never> {
  const write = (answer: Answer): boolean => process.stdout.write(`${JSON.stringify(answer)}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, request } = JSON.parse(line) as { id: number; request: never };
    handle(request).then(
      (result) => write({ id, result: result ?? null }),
      (error: unknown) => write({ id, error: String(error) }),
    );
  }
  process.exit(0);
}
