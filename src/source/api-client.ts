// SPDX-License-Identifier: Apache-2.0
// Requests to an API server: one keep-alive agent a server, fresh credentials each time, and a time limit on everything
// up to the headers. Knows nothing of lists and watches.

import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { StatusError, UnreachableError } from "./api-error.ts";
import type { Clock } from "./clock.ts";
import type { Credentials, Login } from "./credentials.ts";
import { type RequestReport, reportRequest } from "./request-report.ts";

const CONNECT_TIMEOUT_MS = 5_000;
const HEADER_TIMEOUT_MS = 30_000;
const TCP_KEEPALIVE_MS = 15_000;
/** A Retry-After beyond this is not believed. */
const MAX_RETRY_AFTER_MS = 120_000;
/** What is said of an error is waited for this long. */
const STATUS_TIMEOUT_MS = 5_000;
const MAX_STATUS_BYTES = 64 * 1024;

export interface ApiClientOptions {
  readonly credentials: Credentials;
  readonly clock: Clock;
  /** Told of every request; left out: nobody is. */
  readonly onRequest?: (report: RequestReport) => void;
}

/** What a request brings. */
export interface Change {
  readonly method: "POST" | "PATCH";
  readonly contentType: string;
  readonly body: string;
}

/** `signal` also ends a response that is being read. */
export interface Ask {
  readonly signal: AbortSignal;
  /** Media types, the one wanted most first. */
  readonly accept: string;
  /** Left out: GET. */
  readonly change?: Change;
}

interface AgentEntry {
  readonly agent: http.Agent;
  /** The login's TLS material that the agent was made with. */
  readonly version: number;
}

export class ApiClient {
  readonly #credentials: Credentials;
  readonly #clock: Clock;
  readonly #configuredHost: string;
  readonly #onRequest: (report: RequestReport) => void;
  readonly #agents = new Map<string, AgentEntry>();

  constructor(options: ApiClientOptions) {
    this.#credentials = options.credentials;
    this.#clock = options.clock;
    this.#onRequest = options.onRequest ?? (() => undefined);
    this.#configuredHost = bareHost(new URL(options.credentials.server));
  }

  /**
   * The response to GET `server` + `path` once it is 200; its body is the caller's to read or destroy. Throws
   * UnreachableError or StatusError.
   */
  async get(server: string, path: string, ask: Ask): Promise<IncomingMessage> {
    const login = await unlessAborted(this.#login(), ask.signal);
    const url = new URL(server + path);
    const response = await this.#send(url, login, ask, true);
    if (response.statusCode === 200) return response;
    if (response.statusCode === 401) this.#credentials.invalidate();
    const cancel = this.#clock.after(STATUS_TIMEOUT_MS, () => response.destroy(), false);
    throw await statusError(response).finally(cancel);
  }

  /** Sends a change; answers with the status, whatever it is, and reads nothing more. Throws UnreachableError. */
  async change(server: string, path: string, change: Change, signal: AbortSignal): Promise<number> {
    const login = await unlessAborted(this.#login(), signal);
    const ask = { signal, accept: "application/json", change };
    const response = await this.#send(new URL(server + path), login, ask, true);
    if (response.statusCode === 401) this.#credentials.invalidate();
    response.on("error", () => undefined).resume();
    return response.statusCode ?? 0;
  }

  /** Closes the connections to a server that nobody is using: they lead to a peer that fell silent. */
  dropIdle(server: string): void {
    const entry = this.#agents.get(new URL(server).origin);
    if (entry !== undefined) destroyFree(entry.agent);
  }

  close(): void {
    for (const { agent } of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async #login(): Promise<Login> {
    try {
      return await this.#credentials.current();
    } catch (error) {
      throw new UnreachableError(`credentials: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** A reused connection may have been closed by the server while idle: then, and only once, at once again. */
  async #send(url: URL, login: Login, ask: Ask, mayRepeat: boolean): Promise<IncomingMessage> {
    const request = this.#request(url, login, ask);
    try {
      return await this.#headers(request);
    } catch (error) {
      if (ask.signal.aborted) throw error;
      const code = (error as NodeJS.ErrnoException).code;
      if (mayRepeat && request.reusedSocket && (code === "ECONNRESET" || code === "EPIPE")) {
        return await this.#send(url, login, ask, false);
      }
      throw new UnreachableError(describeFailure(error), { cause: error });
    }
  }

  #request(url: URL, login: Login, { signal, accept, change }: Ask): http.ClientRequest {
    const headers: Record<string, string> = {
      Accept: accept,
      // On a LAN compression costs more CPU than it saves time.
      "Accept-Encoding": "identity",
      "User-Agent": "portolan",
      ...login.headers,
    };
    if (change !== undefined) {
      headers["Content-Type"] = change.contentType;
      headers["Content-Length"] = String(Buffer.byteLength(change.body));
    }
    const plain = url.protocol !== "https:";
    // A secret goes over plain text to this machine alone.
    if (plain && !isLoopback(url.hostname)) delete headers["Authorization"];
    const options = { agent: this.#agent(url, login), method: change?.method ?? "GET", headers, signal };
    const request = plain ? http.request(url, options) : https.request(url, options as https.RequestOptions);
    reportRequest(request, url, this.#onRequest);
    return request.end(change?.body);
  }

  #headers(request: http.ClientRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const expire = (what: string) => () => request.destroy(new Error(what));
      const cancelHeaders = this.#clock.after(HEADER_TIMEOUT_MS, expire("no answer in 30 s"), false);
      const cancelConnect = this.#clock.after(CONNECT_TIMEOUT_MS, expire("no connection in 5 s"), false);
      request.once("socket", (socket) => {
        if (socket.connecting) socket.once("connect", cancelConnect);
        else cancelConnect();
      });
      const settled = () => {
        cancelConnect();
        cancelHeaders();
      };
      request.once("response", (response) => {
        settled();
        resolve(response);
      });
      request.on("error", (error) => {
        settled();
        reject(error);
      });
    });
  }

  #agent(url: URL, login: Login): http.Agent {
    const known = this.#agents.get(url.origin);
    if (known?.version === login.version) return known.agent;
    // A watch that runs keeps its connection; nothing new goes over one made with the old certificate.
    if (known !== undefined) retire(known.agent);
    const options = { keepAlive: true, keepAliveMsecs: TCP_KEEPALIVE_MS, maxFreeSockets: 4 };
    const agent =
      url.protocol === "https:"
        ? new https.Agent({
            ...options,
            ...login.tls,
            ...identity(bareHost(url), this.#configuredHost, login.serverName),
          })
        : new http.Agent(options);
    this.#agents.set(url.origin, { agent, version: login.version });
    return agent;
  }
}

/**
 * The certificate must be signed by the configured CA, always, and be for the address asked or for the one the API
 * server is configured by: a remembered address need not stand in the certificate when the configured one does.
 */
function identity(host: string, configured: string, serverName: string | null): https.AgentOptions {
  const sent = serverName ?? (isIP(host) !== 0 && isIP(configured) === 0 ? configured : null);
  const names = serverName === null ? [host, configured] : [serverName];
  return {
    ...(sent === null ? {} : { servername: sent }),
    checkServerIdentity(_: string, certificate: PeerCertificate): Error | undefined {
      const errors = names.map((name) => checkServerIdentity(name, certificate));
      return errors.includes(undefined) ? undefined : errors[0];
    },
  };
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  destroyFree(agent);
}

function destroyFree(agent: http.Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of [...(sockets ?? [])]) socket.destroy();
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || (isIP(host) === 4 && host.startsWith("127."));
}

async function statusError(response: IncomingMessage): Promise<StatusError> {
  const status = response.statusCode ?? 0;
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      pieces.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_STATUS_BYTES) break;
    }
  } catch {
    // The status says enough.
  }
  const retryAfter = Number(response.headers["retry-after"]);
  const retryAfterMs = retryAfter > 0 ? Math.min(retryAfter * 1000, MAX_RETRY_AFTER_MS) : null;
  return new StatusError(status, `${status} ${messageOf(Buffer.concat(pieces).toString())}`.trim(), {
    retryAfterMs,
    inStream: false,
  });
}

/** A credential plug-in may hang; whoever stops does not wait for it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** The message of a Status object, or the beginning of whatever came instead of one. */
function messageOf(body: string): string {
  try {
    const message: unknown = JSON.parse(body)?.message;
    if (typeof message === "string") return message.slice(0, 500);
  } catch {
    // A proxy's page, not an API server's answer.
  }
  return body.slice(0, 200).trim();
}

function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  switch ((error as NodeJS.ErrnoException).code) {
    case "ECONNREFUSED":
      return "connection refused";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "name cannot be resolved";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "no route";
    default:
      return error.message;
  }
}
