// SPDX-License-Identifier: Apache-2.0
// HTTP answers as Go's server writes them, byte for byte: which headers, in which order, and none that Node would add.
// Probes, load balancers and scrapers that were set up for kube-proxy see no difference.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

export interface Answer {
  readonly status: number;
  /** In the order they are sent; Date and Content-Length come after them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Those that Go finds out by itself, and sends last. */
  readonly last?: Readonly<Record<string, string>>;
  readonly body: string;
  /** May be sent compressed to whoever asks for that. */
  readonly compressible?: boolean;
}

/** What a path answers; the path is without its query. Every method is answered; HEAD without the body. */
export type Route = (request: IncomingMessage, path: string) => Answer | Promise<Answer>;

const NOSNIFF = { "X-Content-Type-Options": "nosniff" };

/** Connections nobody uses are closed after a while: well after the next scrape or probe would have come. */
const KEEP_ALIVE_MS = 180_000;

const compress = promisify(gzip);

export const plain = (status: number, body: string): Answer => ({
  status,
  headers: { "Content-Type": "text/plain; charset=utf-8", ...NOSNIFF },
  body,
});

export const json = (status: number, body: string, more: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { "Content-Type": "application/json", ...NOSNIFF, ...more },
  body,
});

/** Text whose type nobody set: Go tells it from the first bytes. */
export const bare = (body: string): Answer => ({
  status: 200,
  headers: {},
  last: { "Content-Type": "text/plain; charset=utf-8" },
  body,
});

export const notFound = (): Answer => plain(404, "404 page not found\n");

/** A server that answers by `route`; what goes wrong in it is an answer too. */
export function answering(route: Route): Server {
  /** The last answer on a connection, under way or given: was it the last one by its own word? */
  const lastWord = new WeakMap<Duplex, Promise<boolean>>();
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requireHostHeader: false }, (request, response) => {
    if (request.headers.host === undefined && request.httpVersion === "1.1") {
      refuse(request.socket, "400 Bad Request: missing required Host header");
      return;
    }
    const answered = answerTo(route, request)
      .then((answer) => send(request, response, answer))
      .catch(() => void response.destroy())
      .then(() => !response.shouldKeepAlive);
    lastWord.set(request.socket, answered);
  });
  // Who says everything and shuts its side down still waits for the answer, as simple health checks do.
  Object.assign(server, { httpAllowHalfOpen: true });
  // A connection that breaks, or bytes that are no HTTP: nothing to mend here, and nothing to end the agent for. What was
  // asked before is answered first.
  server.on("clientError", ({ code }: NodeJS.ErrnoException, socket) => {
    const status = code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
    void Promise.resolve(lastWord.get(socket)).then((said) => (said ? socket.end() : refuse(socket, status)));
  });
  return server;
}

/** The last word on a connection. */
function refuse(socket: Duplex, status: string): void {
  if (!socket.writable) socket.destroy();
  else
    socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`);
}

async function answerTo(route: Route, request: IncomingMessage): Promise<Answer> {
  try {
    return await route(request, pathOf(request.url ?? ""));
  } catch (error) {
    return plain(500, `${(error as Error).message}\n`);
  }
}

/** "/healthz" of "/healthz?verbose" and of "http://node:10256/healthz". */
function pathOf(url: string): string {
  const target = /^https?:\/\/[^/?#]*(.*)$/i.exec(url)?.[1] ?? url;
  return target.split("?", 1)[0] ?? "";
}

async function send(request: IncomingMessage, response: ServerResponse, answer: Answer): Promise<void> {
  const compressed = answer.compressible === true && acceptsGzip(request.headers["accept-encoding"]);
  const body = compressed ? await compress(answer.body) : Buffer.from(answer.body);
  response.statusCode = answer.status;
  response.sendDate = false;
  response.removeHeader("connection");
  if (compressed) response.setHeader("Content-Encoding", "gzip");
  for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
  response.setHeader("Date", new Date().toUTCString());
  response.setHeader("Content-Length", body.length);
  for (const [name, value] of Object.entries(answer.last ?? {})) response.setHeader(name, value);
  // Only what is not the protocol version's default is said.
  const { shouldKeepAlive } = response;
  if (shouldKeepAlive !== (request.httpVersion === "1.1"))
    response.setHeader("Connection", shouldKeepAlive ? "keep-alive" : "close");
  response.end(body);
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? "")
    .split(",")
    .some((coding) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/.test(coding));
}
