// SPDX-License-Identifier: Apache-2.0
// Over plain text a token goes to this machine alone, whatever a host is called.

import dns from "node:dns";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiClient } from "../../../src/source/api-client.ts";
import { systemClock } from "../../../src/source/clock.ts";
import { Credentials } from "../../../src/source/credentials.ts";
import { kubeconfig } from "./objects.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `portolan-plain-${process.pid}-`));
  // Every name leads to this machine.
  vi.spyOn(dns, "lookup").mockImplementation(((_: string, options: { all?: boolean }, done: CallableFunction) =>
    options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4)) as never);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

test.each([
  ["127.0.0.1", "Bearer secret"],
  ["localhost", "Bearer secret"],
  ["127.example.com", undefined],
  ["api.example.com", undefined],
])("%s gets %s", async (host, expected) => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://${host}:${(server.address() as AddressInfo).port}`;
  const credentials = await Credentials.load(kubeconfig(directory, url, { user: { token: "secret" } }));
  const client = new ApiClient({ credentials, clock: systemClock });
  const { signal } = new AbortController();
  (await client.get(url, "/", { signal, accept: "application/json" })).resume();
  client.close();
  server.close();
  server.closeAllConnections();
  expect(seen).toEqual([expected]);
});
