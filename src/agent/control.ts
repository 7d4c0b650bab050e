// SPDX-License-Identifier: Apache-2.0
// The control socket: questions about the running agent, by HTTP on a socket that only root can open. It changes nothing.

import { chmodSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { AgentRunning } from "../datapath/refusal.ts";
import { askAgent, controlSocket } from "./control-client.ts";

/** Answers by path; an answer is sent as JSON. */
export type Answers = Readonly<Record<string, () => unknown>>;

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  /** Null: the run directory was there before. */
  readonly #madeDir: string | null;

  private constructor(path: string, madeDir: string | null, answers: Answers) {
    this.#path = path;
    this.#madeDir = madeDir;
    this.#server = createServer({ keepAlive: false }, (request, response) => {
      const [status, body] = answerTo(request.method === "GET" ? answers[request.url ?? ""] : undefined);
      response.statusCode = status;
      response.setHeader("content-type", "application/json");
      response.end(`${body}\n`);
    });
  }

  /** Throws AgentRunning if another agent answers in this run directory; a dead one's socket is replaced. */
  static async open(runDir: string, answers: Answers): Promise<ControlServer> {
    const madeDir = existsSync(runDir) ? null : runDir;
    mkdirSync(runDir, { recursive: true, mode: 0o750 });
    const other = await askAgent<{ pid: number }>(runDir, "/v1/pid").catch(() => ({ pid: null }));
    if (other !== null) throw new AgentRunning(runDir, other.pid);
    const path = controlSocket(runDir);
    rmSync(path, { force: true });
    const control = new ControlServer(path, madeDir, answers);
    await control.#listen();
    return control;
  }

  #listen(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      // The file is made by bind(): a mask keeps it from being open to others for a moment.
      const mask = process.umask(0o177);
      try {
        this.#server.listen(this.#path, () => resolve());
      } finally {
        process.umask(mask);
      }
    }).then(() => chmodSync(this.#path, 0o600));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#path, { force: true });
    if (this.#madeDir !== null && readdirSync(this.#madeDir).length === 0) rmdirSync(this.#madeDir);
  }
}

/** Whatever goes wrong in answering is an answer too, and no reason to end the agent. */
function answerTo(answer: (() => unknown) | undefined): readonly [status: number, body: string] {
  if (answer === undefined) return [404, JSON.stringify({ error: "no such question" })];
  try {
    return [200, JSON.stringify(answer(), exact)];
  } catch (error) {
    return [500, JSON.stringify({ error: (error as Error).message })];
  }
}

/** Big integers as numbers, or as decimal strings where a double would round them. */
function exact(_: string, value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
}
