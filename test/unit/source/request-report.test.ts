// SPDX-License-Identifier: Apache-2.0
// What is told of each request to the API server: once, a watch at its beginning, any other at its end.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ApiClient } from "../../../src/source/api-client.ts";
import { systemClock } from "../../../src/source/clock.ts";
import type { Credentials } from "../../../src/source/credentials.ts";
import type { RequestReport } from "../../../src/source/request-report.ts";

let server: Server;
let url: string;
let client: ApiClient;
let reports: RequestReport[];
let heard: { method: string; type: string; body: string }[];

beforeEach(async () => {
  reports = [];
  heard = [];
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    heard.push({ method: request.method ?? "", type: request.headers["content-type"] ?? "", body });
    if (request.url?.includes("watch=true")) response.writeHead(200).write('{"type":"BOOKMARK"}\n');
    else
      response
        .writeHead(request.method === "GET" ? 200 : request.url === "/forbidden" ? 403 : 201)
        .end("x".repeat(1_000));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const login = { headers: {}, tls: {}, serverName: null, version: 1 };
  const credentials = {
    server: url,
    current: async () => login,
    invalidate: () => undefined,
  } as unknown as Credentials;
  client = new ApiClient({ credentials, clock: systemClock, onRequest: (report) => reports.push(report) });
});
afterEach(() => {
  client.close();
  server.closeAllConnections();
  server.close();
});

const { signal } = new AbortController();
const ask = { signal, accept: "application/json" };
const host = (): string => new URL(url).host;

async function settled(count: number): Promise<void> {
  for (let i = 0; i < 200 && reports.length < count; i++) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("a list: when it has been read, with its size", async () => {
  const response = await client.get(url, "/api/v1/services", ask);
  expect(reports).toEqual([]);
  response.resume();
  await settled(1);
  expect(reports).toEqual([
    {
      method: "GET",
      host: host(),
      status: 200,
      exchange: { seconds: expect.any(Number), sentBytes: 0, receivedBytes: expect.any(Number) },
    },
  ]);
  expect(reports[0]?.exchange?.receivedBytes).toBeGreaterThan(1_000);
  expect(reports[0]?.exchange?.receivedBytes).toBeLessThan(1_500);
});

test("a watch: when it is answered, and nothing of how long it lasted", async () => {
  const response = await client.get(url, "/api/v1/services?watch=true", ask);
  expect(reports).toEqual([{ method: "GET", host: host(), status: 200, exchange: null }]);
  response.destroy();
  await settled(2);
  expect(reports.length).toBe(1);
});

test("a change: sent with its type and length; a refusal is an answer too", async () => {
  const change = { method: "POST", contentType: "application/json", body: '{"é":1}' } as const;
  expect(await client.change(url, "/events", change, signal)).toBe(201);
  expect(await client.change(url, "/forbidden", { ...change, method: "PATCH" }, signal)).toBe(403);
  await settled(2);
  expect(heard).toEqual([
    { method: "POST", type: "application/json", body: '{"é":1}' },
    { method: "PATCH", type: "application/json", body: '{"é":1}' },
  ]);
  expect(reports.map(({ method, status, exchange }) => [method, status, exchange?.sentBytes])).toEqual([
    ["POST", 201, 8],
    ["PATCH", 403, 8],
  ]);
});

test("no answer: told as such, once", async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await expect(client.get(url, "/api/v1/services", ask)).rejects.toThrow("connection refused");
  expect(reports).toEqual([{ method: "GET", host: host(), status: null, exchange: null }]);
});
