// SPDX-License-Identifier: Apache-2.0
// What goes over a connection beside well-formed questions: bytes behind them, headers that are missing or too many, and
// bodies of any length.

import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { setTimeout as after } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { answering, plain } from "../../../src/health/answer.ts";
import { metricsRoute } from "../../../src/health/metrics-server.ts";
import { Registry } from "../../../src/health/prometheus.ts";

let server: Server;
let verbosity = 0;
afterEach(() => server.close());

async function listening(): Promise<number> {
  const metrics = metricsRoute({
    registry: new Registry(),
    beforeScrape: () => undefined,
    version: "1",
    configz: () => "{}",
    flags: {},
    profiling: true,
    setVerbosity: (value) => {
      verbosity = value;
    },
  });
  server = answering(async (request, path) => {
    if (path !== "/slow") return await metrics(request, path);
    await after(50);
    return plain(200, "slow");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** All that comes back until the server ends the connection. */
async function heard(...pieces: readonly string[]): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port: await listening() });
  let text = "";
  socket.on("data", (data) => {
    text += data.toString();
  });
  for (const piece of pieces) socket.write(piece);
  await once(socket, "close");
  return text;
}

const refusal = (status: string): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`;

test("what was asked is answered before what follows is found to be no HTTP", async () => {
  for (const path of ["/healthz", "/slow"]) {
    const text = await heard(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\nno HTTP`);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text.endsWith(refusal("400 Bad Request"))).toBe(true);
    server.close();
  }
});

test("who asks for one answer alone gets no second one", async () => {
  for (const head of ["HTTP/1.0", "HTTP/1.1\r\nHost: a\r\nConnection: close"]) {
    const text = await heard(`GET /healthz ${head}\r\n\r\nno HTTP`);
    expect(text.match(/^HTTP\//gm)).toHaveLength(1);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok$/);
    server.close();
  }
});

test("HTTP/1.1 without a Host, and more headers than anybody sends: kube-proxy's words", async () => {
  expect(await heard("GET /healthz HTTP/1.1\r\n\r\n")).toBe(refusal("400 Bad Request: missing required Host header"));
  server.close();
  const many = `X: ${"x".repeat(20_000)}\r\n`;
  expect(await heard(`GET /healthz HTTP/1.1\r\nHost: a\r\n${many}\r\n`)).toBe(
    refusal("431 Request Header Fields Too Large"),
  );
  server.close();
  expect(await heard("GET /healthz HTTP/1.0\r\n\r\n")).toMatch(/^HTTP\/1\.1 200 /);
});

test.for([
  ["7", "200", "successfully set klog.logging.verbosity to 7\n"],
  ["007", "200", "successfully set klog.logging.verbosity to 007\n"],
  ["", "400", 'strconv.ParseUint: parsing "": invalid syntax\n'],
  ["7\n", "400", 'strconv.ParseUint: parsing "7\\n": invalid syntax\n'],
  ["-1", "400", 'strconv.ParseUint: parsing "-1": invalid syntax\n'],
  ["9".repeat(65), "400", `strconv.ParseUint: parsing "${"9".repeat(65)}": value out of range\n`],
  ["4294967296", "400", 'strconv.ParseUint: parsing "4294967296": value out of range\n'],
  [
    "2147483648",
    "400",
    'failed set klog.logging.verbosity 2147483648: strconv.ParseInt: parsing "2147483648": value out of range\n',
  ],
  ["x".repeat(300_000), "400", `strconv.ParseUint: parsing "${"x".repeat(1_024)}": invalid syntax\n`],
])("PUT /debug/flags/v of %.20s", async ([body = "", status = "", said = ""]) => {
  verbosity = 0;
  const head = `PUT /debug/flags/v HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
  const text = await heard(head, body);
  expect([text.slice(9, 12), text.split("\r\n\r\n")[1]]).toEqual([status, said]);
  expect(verbosity).toBe(status === "200" ? 7 : 0);
});
