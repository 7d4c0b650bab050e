// SPDX-License-Identifier: Apache-2.0
// How the exec plug-in of a kubeconfig is asked for a login: not for ever, anew after a failure, and so that nothing of
// what it answers gets into an error.

import { spawn } from "node:child_process";
import type { RequestOptions } from "node:https";
import type { User } from "@kubernetes/client-node/dist/config_types.js";
import { ExecAuth } from "@kubernetes/client-node/dist/exec_auth.js";

const ANSWER_MS = 60_000;

/** Of a request: a token goes into the headers. */
export type LoginOptions = RequestOptions & { headers: Record<string, string> };

export class ExecPlugIn {
  readonly #answerMs: number;
  #auth: ExecAuth;

  constructor(answerMs = ANSWER_MS) {
    this.#answerMs = answerMs;
    this.#auth = this.#newAuth();
  }

  /** Puts the login of this user into the options; what it answered before counts until it expires. Throws Error. */
  async apply(user: User, options: LoginOptions): Promise<void> {
    try {
      await this.#auth.applyAuthentication(user, options);
      const { headers, cert } = options;
      if (!headers["Authorization"] && !cert) throw new TypeError();
    } catch (error) {
      this.forget();
      throw new Error(`exec plug-in: ${reasonOf(error)}`);
    }
  }

  /** Nothing it answered is used again. */
  forget(): void {
    this.#auth = this.#newAuth();
  }

  #newAuth(): ExecAuth {
    const auth = new ExecAuth();
    Object.assign(auth, { execFn: (...call: SpawnCall) => this.#spawn(call) });
    return auth;
  }

  /** Its children may hold on to its output: that is closed, too. */
  #spawn([command, args, options]: SpawnCall) {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => {
      child.emit("error", new Error(`no answer in ${this.#answerMs / 1_000} s`));
      child.kill("SIGKILL");
      child.stdout.destroy();
      child.stderr.destroy();
    }, this.#answerMs).unref();
    child.once("close", () => clearTimeout(timer));
    return child;
  }
}

type SpawnCall = readonly [command: string, args: readonly string[], options: object];

/** The parser's own words quote what it read, and that may be a token. */
function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError) return "its answer is no JSON";
  if (error instanceof TypeError) return "its answer holds neither a token nor a certificate";
  return (error as Error).message.trim() || "failed";
}
