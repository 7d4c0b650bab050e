// SPDX-License-Identifier: Apache-2.0
// HTTP as bytes: what a server really sends, every header of it and in which order.

import { command, type Place } from "./daemon.ts";

export interface RawRequest {
  readonly host: string;
  readonly port: number;
  /** "GET /healthz". */
  readonly line: string;
  /** Default: "1.1". */
  readonly version?: "1.0";
  readonly headers?: readonly string[];
  readonly body?: string;
}

/** For `node -e`: sends each request on a connection of its own and prints the answers, as JSON. */
const ASK = `
const net = require("node:net");
const requests = JSON.parse(process.argv[1]);
const ask = ({ host, port, line, version = "1.1", headers = [], body = "" }) => new Promise((resolve) => {
  const socket = net.connect({ host, port });
  const [method] = line.split(" ");
  const length = body === "" ? [] : ["Content-Length: " + body.length];
  let heard = "";
  const done = () => { socket.destroy(); resolve(heard); };
  const timer = setTimeout(done, 30000);
  socket.on("data", (data) => {
    heard += data.toString("latin1");
    const [head, text] = heard.split(/\\r\\n\\r\\n(.*)/s);
    if (text === undefined) return;
    const expected = /^content-length: (\\d+)/im.exec(head)?.[1];
    const ended = method === "HEAD" || (expected === undefined ? text.endsWith("0\\r\\n\\r\\n") : text.length >= Number(expected));
    if (ended) { clearTimeout(timer); setTimeout(done, 50); }
  });
  socket.on("error", (error) => { heard ||= error.code; });
  socket.on("close", () => { clearTimeout(timer); resolve(heard); });
  socket.end([line + " HTTP/" + version, "Host: node", ...headers, ...length, "", body].join("\\r\\n"));
});
Promise.all(requests.map(ask)).then((answers) => console.log(JSON.stringify(answers)));
`;

/** The answers' bytes as Latin-1, or the errno of a connection that failed. */
export async function askRaw(place: Place, requests: readonly RawRequest[]): Promise<string[]> {
  return JSON.parse(await command([process.execPath, "-e", ASK, JSON.stringify(requests)], place)) as string[];
}

/** Times made the same, and the length of a body with times in it: it depends on how long they are written. */
export function masked(answer: string): string {
  const [head = "", body = ""] = answer.split(/\r\n\r\n(.*)/s);
  const timeless = body.replace(/\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)/g, "T");
  const dateless = head.replace(/(?<=^Date: ).*/m, "D");
  const sized = body === timeless && body !== "" ? dateless : dateless.replace(/(?<=^Content-Length: )\d+/m, "N");
  return `${sized}\n\n${timeless}`;
}
