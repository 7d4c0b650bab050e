// SPDX-License-Identifier: Apache-2.0
// The control socket: questions about the running agent, by HTTP on a socket that only root can open, and only root is
// answered whatever becomes of the file's mode. It changes nothing.

import { chmodSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { Socket } from "node:net";
import { endianness } from "node:os";
import { sys } from "libbpf-ts";
import { AgentRunning } from "../datapath/refusal.ts";
import { askAgent, controlSocket } from "./control-client.ts";

/** Answers by path; an answer is sent as JSON. */
export type Answers = Readonly<Record<string, () => unknown>>;

/** Nobody who means well needs more; a peer that is slow to ask keeps no place for long. */
const LIMITS = {
  maxHeaderSize: 4096,
  headersTimeout: 2_000,
  requestTimeout: 2_000,
  connectionsCheckingInterval: 1_000,
};
const MAX_CONNECTIONS = 64;

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const UCRED_BYTES = 12;

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  /** Null: the run directory was there before. */
  readonly #madeDir: string | null;

  private constructor(path: string, madeDir: string | null, answers: Answers) {
    this.#path = path;
    this.#madeDir = madeDir;
    this.#server = createServer(LIMITS, (request, response) => {
      const { method, url = "" } = request;
      const [status, body] = answerTo(method === "GET" && Object.hasOwn(answers, url) ? answers[url] : undefined);
      response.statusCode = status;
      response.setHeader("content-type", "application/json");
      response.end(`${body}\n`);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.prependListener("connection", (socket: Socket) => {
      if (!isTrusted(uidOf(socket))) socket.destroy();
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

const isTrusted = (uid: number | null): boolean => uid === 0 || uid === process.getuid?.();

/** Who connected, by the kernel's word; null if it has none. */
function uidOf(socket: Socket): number | null {
  // Node has no public way to a socket's descriptor.
  const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd: number } | null };
  try {
    const credentials = sys.getsockopt(handle?.fd ?? -1, SOL_SOCKET, SO_PEERCRED, UCRED_BYTES);
    const view = new DataView(credentials.buffer, credentials.byteOffset, UCRED_BYTES);
    return view.getUint32(4, endianness() === "LE");
  } catch {
    return null;
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
