// SPDX-License-Identifier: Apache-2.0
// The control socket and those who should not be there: other users, whatever the modes have become, and root's own
// worst clients.

import { chmodSync, readdirSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { askAgent } from "../../src/agent/control-client.ts";
import { alone } from "../support/contention.ts";
import { type Daemon, eventually } from "../support/daemon.ts";
import { Bed, outcome, service, slice } from "./bed.ts";

let bed: Bed;
let agent: Daemon;
beforeEach(async () => {
  bed = await Bed.create();
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  ({ agent } = await bed.synced());
});
afterEach(() => bed?.remove());

const socketPath = (): string => join(bed.runDir, "portolan.sock");
const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

/** For `node -e`: asks for /v1/pid at a socket; prints the answer, the error's code, or "closed". */
const ASK = `
const request = require("node:http").get({ socketPath: process.argv[1], path: "/v1/pid" }, (response) => response.pipe(process.stdout));
request.on("error", (error) => console.log(error.code));
`;

async function askAs(uid: number): Promise<string> {
  const who = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--"];
  const { stdout } = await outcome([...who, process.execPath, "-e", ASK, socketPath()], bed.host);
  return stdout.trim();
}

test("directory 0750, socket 0600: another user is refused by the kernel", async () => {
  expect([mode(bed.runDir), mode(socketPath())]).toEqual(["750", "600"]);
  expect(await askAs(1000)).toBe("EACCES");
  expect(JSON.parse(await askAs(0))).toEqual({ pid: agent.pid });
});

test("modes that somebody opened: another user reaches the socket and gets no answer", async () => {
  for (const dir of [bed.dir, bed.runDir]) chmodSync(dir, 0o755);
  chmodSync(socketPath(), 0o666);
  expect(await askAs(1000)).toMatch(/^(ECONNRESET|EPIPE)$/);
  expect(JSON.parse(await askAs(0))).toEqual({ pid: agent.pid });
});

/** Writes to the socket and waits for its end, at most as long as a request may take. */
function send(bytes: string | Buffer, hangUp = false): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(socketPath(), () =>
      hangUp ? socket.write(bytes, () => socket.destroy()) : socket.end(bytes),
    );
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on("data", (part) => {
      answer += part.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(answer));
  });
}

const request = (line: string, headers = "", body = ""): string =>
  `${line} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;

/** Pipelined: each is answered with 404, 400 or not at all, and never with more. */
const POLITE = [
  request("GET /"),
  request("GET /__proto__"),
  request("GET /constructor"),
  request("GET /toString"),
  request("GET /v1/pid/../status"),
  request("GET /v1/status?x=1"),
  request("GET /%00%ff"),
  request(`GET /${"a".repeat(2000)}`),
  request("HEAD /v1/status"),
  request("OPTIONS *"),
  request("DELETE /v1/status"),
  request("POST /v1/status", "Content-Length: 5\r\n", "hello"),
  request("PUT /v1/pid", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
];

const RUDE: readonly (string | Buffer)[] = [
  "",
  "\r\n\r\n\r\n",
  "GET",
  "GET / HTTP/9.9\r\n\r\n",
  "constructor / HTTP/1.1\r\n\r\n",
  request("CONNECT x:1"),
  request("GET /", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
  request("GET /", `X: ${"a".repeat(10_000)}\r\n`),
  request("POST /", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  request("POST /", "Content-Length: -1\r\n"),
  request("POST /", "Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"),
  Buffer.from(Array.from({ length: 512 }, (_, i) => (i * 197) & 255)),
  Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
];

test("100,000 hostile requests in 20 s: no crash, no answer that was not meant, nothing kept", async () => {
  const fds = () => readdirSync(`/proc/${agent.pid}/fd`).length;
  const resident = () =>
    Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1]) / 1024;
  const batch = Array.from({ length: 490 }, (_, i) => POLITE[i % POLITE.length]).join("");
  const before = { fds: fds(), resident: resident() };
  let answered = 0;
  const attack = async (round: number): Promise<void> => {
    const answers = await Promise.all([
      send(batch),
      send(batch.slice(0, -round - 1), true),
      ...RUDE.slice(0, 10).map((bytes, i) => send(RUDE[(i + round) % RUDE.length] ?? bytes)),
    ]);
    for (const answer of answers) {
      expect(answer).not.toMatch(/^HTTP\/1.1 (2|5)/m);
      answered += answer.match(/^HTTP\/1.1 4/gm)?.length ?? 0;
    }
  };
  const { tookMs } = await alone(async () => {
    for (let round = 0; round < 200; round++) await attack(round);
  });
  // What is behind a request that ends its connection is not answered.
  expect(answered).toBeGreaterThan(50_000);
  expect(tookMs).toBeLessThan(20_000);
  expect(await askAgent(bed.runDir, "/v1/pid")).toEqual({ pid: agent.pid });
  await eventually("closed sockets", () => Math.abs(fds() - before.fds) <= 2 || undefined);
  // Where others want the processors too, the heap is behind with giving back what such a load needed.
  await eventually("given back memory", () => resident() - before.resident < 64 || undefined);
  expect(agent.exit).toBeUndefined();
});

test("half a hundred that ask nothing keep nobody else waiting for long", async () => {
  const idle = Array.from({ length: 60 }, () => connect(socketPath()).on("error", () => undefined));
  try {
    const { answer, tookMs } = await alone(() => askAgent(bed.runDir, "/v1/pid"));
    expect(answer).toEqual({ pid: agent.pid });
    expect(tookMs).toBeLessThan(1_000);
    // They are put out, so that their places are free again.
    await Promise.all(idle.map((socket) => new Promise((resolve) => socket.on("close", resolve).resume())));
  } finally {
    for (const socket of idle) socket.destroy();
  }
});
