// SPDX-License-Identifier: Apache-2.0
// The health checks of Services as the agent opens them: in the families of the node, where its addresses are now, and
// never again once it has closed them.

import { createServer, type Server } from "node:http";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Servers } from "../../../src/agent/servers.ts";
import { configFrom } from "../../../src/config/config.ts";
import { addressBytes, parseCidr } from "../../../src/model/address.ts";
import { Store } from "../../../src/model/store.ts";
import type { Family, Service } from "../../../src/model/types.ts";

const KEY = "ns/web";

let port: number;
let store: Store;
let lines: { readonly reason?: string }[];
let servers: Servers;

function make(families: readonly Family[] = [4, 6]): Servers {
  const log = pino({}, { write: (line) => void lines.push(JSON.parse(line)) });
  const config = configFrom("test", { source: "dir:/", healthzBindAddress: "none", metricsBindAddress: "127.0.0.1:0" });
  return new Servers({ config, version: "1", node: "node1", startedMs: Date.now(), flags: {}, log, families });
}

/** Listens for a moment at most. */
async function isTaken(at: number, host: string): Promise<boolean> {
  const server: Server = createServer();
  return await new Promise((resolve) => {
    server.once("error", () => resolve(true));
    server.listen({ port: at, host, ipv6Only: true }, () => server.close(() => resolve(false)));
  });
}

/** Outside the range from which others are given theirs. */
async function freePort(): Promise<number> {
  for (let at = 20_000 + (process.pid % 5_000); ; at++) {
    if (!(await isTaken(at, "0.0.0.0")) && !(await isTaken(at, "::"))) return at;
  }
}

/** Turns of the loop: opening and closing a port takes a few. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
}

beforeEach(async () => {
  lines = [];
  port = await freePort();
  store = new Store();
  const service = {
    namespace: "ns",
    name: "web",
    type: "LoadBalancer",
    externalLocal: true,
    healthCheckNodePort: port,
    clusterIps: ["10.96.0.1", "fd00:96::1"],
    ports: [{}],
  };
  store.service(KEY, service as unknown as Service, 0n);
});
afterEach(() => servers.close());

test("listen in both families, and not again once they are closed", async () => {
  servers = make();
  servers.synced(store, [KEY]);
  await settle();
  expect([await isTaken(port, "0.0.0.0"), await isTaken(port, "::")]).toEqual([true, true]);
  await servers.close();
  servers.synced(store, [KEY]);
  await settle();
  expect([await isTaken(port, "0.0.0.0"), await isTaken(port, "::")]).toEqual([false, false]);
});

test("a node without IPv6 opens none of it, and says nothing of that", async () => {
  servers = make([4]);
  servers.synced(store, [KEY]);
  await settle();
  expect([await isTaken(port, "0.0.0.0"), await isTaken(port, "::")]).toEqual([true, false]);
});

test("follow the node's addresses without waiting for a Service to change", async () => {
  servers = make([4]);
  servers.synced(store, [KEY]);
  await settle();
  const cidr = parseCidr("192.0.2.0/24");
  servers.setNodeAddresses([addressBytes("192.0.2.7")], cidr === null ? [] : [cidr]);
  await settle();
  expect(await isTaken(port, "0.0.0.0")).toBe(false);
  expect(lines.map(({ reason }) => reason)).toEqual([
    `listen tcp4 192.0.2.7:${port}: bind: cannot assign requested address`,
  ]);
});
