// SPDX-License-Identifier: Apache-2.0
// Which server is asked and how one logs in: some of several dead, slow ones, TLS, tokens and CAs that rotate, a cold
// start on what was remembered, and nothing that leaks over a thousand connections.

import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import type { FaultApiServer } from "../support/api-server.ts";
import { CertificateAuthority } from "../support/certificates.ts";
import { eventually } from "../support/daemon.ts";
import { FaultBed, fds, service, slice } from "./bed.ts";
import { figure } from "./figures.ts";

/** Servers that reset every connection; their ports, beside those of the bed's servers. */
const TRAPS = 40;
const FIRST_TRAP_PORT = 21_000;

let faults: FaultBed;

beforeEach(async () => {
  faults = await FaultBed.create();
});

afterEach(() => faults?.remove());

const authority = (name: string) => new CertificateAuthority(join(faults.bed.dir, name));

const apiServers = (urls: readonly string[]): string =>
  `--config=${faults.config(`apiServers: ${JSON.stringify(urls)}`)}`;

/** Longest time without a watch of Services, in ms, while `during` runs. */
async function longestGap(server: FaultApiServer, during: () => Promise<void>): Promise<number> {
  let last = performance.now();
  let gap = 0;
  let longest = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    // While this process stood still, the server in it did, too.
    gap = server.watched("services") ? 0 : gap + Math.min(now - last, 10);
    last = now;
    longest = Math.max(longest, gap);
  }, 2);
  try {
    await during();
  } finally {
    clearInterval(timer);
  }
  return longest;
}

/** Until the server has closed the connections that nobody uses, which it does after some seconds. */
async function quiet(server: FaultApiServer): Promise<void> {
  const isQuiet = () => server.openSockets === server.openWatches || undefined;
  await eventually("only watches have a connection", isQuiet).catch(() => undefined);
}

test("three servers, two of them dead: the third is asked at once; it dies too, and comes back", async () => {
  const dead = [await faults.serve(), await faults.serve()];
  for (const server of dead) await server.stop();
  const server = await faults.serve();
  const took = await faults.seconds(() => faults.sync(server, [apiServers(dead.map(({ url }) => url))]));
  expect((await faults.state()).source.peer).toBe(server.url);
  figure({ row: 5, what: "two of three servers dead: in sync after", bar: 10, ...took });
  const second = await faults.serve({ port: dead[0]?.port ?? 0, version: 5_000 });
  server.refusing = true;
  server.dropConnections();
  const moved = await faults.seconds(() => faults.live(second));
  figure({ row: 5, what: "the server in use dies: the next one delivers after", bar: 5, ...moved });
});

test("a slow server: every answer three seconds late", async () => {
  const server = await faults.serve();
  server.delayMs = 3_000;
  const { agent, report } = await faults.sync(server);
  expect(report.source.state).toBe("synced");
  await faults.live(server);
  expect(agent.exit).toBeUndefined();
});

test("in a pod: token and CA rotate by a swapped link in the middle of a watch", async () => {
  const [before, after] = [authority("before"), authority("after")];
  const account = join(faults.bed.dir, "account");
  mkdirSync(account);
  const project = (name: string, ca: string): void => {
    mkdirSync(join(account, name));
    writeFileSync(join(account, name, "token"), name);
    writeFileSync(join(account, name, "ca.crt"), ca);
    symlinkSync(name, join(account, "..data.new"));
    renameSync(join(account, "..data.new"), join(account, "..data"));
  };
  for (const file of ["token", "ca.crt"]) symlinkSync(join("..data", file), join(account, file));
  project("first", before.certificate);
  const server = await faults.serve({ tls: before.issue("IP:127.0.0.1") });
  server.token = "first";
  const env = [
    "KUBERNETES_SERVICE_HOST=127.0.0.1",
    `KUBERNETES_SERVICE_PORT=${server.port}`,
    "KUBECONFIG=",
    "HOME=/nowhere",
  ];
  const agent = faults.start(null, [], [...env, `PORTOLAN_SERVICE_ACCOUNT=${account}`]);
  await faults.synced(agent);
  await faults.live(server);
  let gap = 0;
  for (const [name, ca] of [
    ["second", before],
    ["third", after],
  ] as const) {
    // A watch that lived a second is followed by the next at once.
    await sleep(1_100);
    project(name, ca.certificate);
    server.token = name;
    if (ca === after) server.present(after.issue("IP:127.0.0.1"));
    gap = Math.max(
      gap,
      await longestGap(server, async () => {
        server.endWatches();
        await faults.live(server);
      }),
    );
    expect(server.requests.at(-1)?.authorization).toBe(`Bearer ${name}`);
  }
  figure({
    row: 25,
    what: "token, then token and CA rotated: longest time unwatched",
    seen: gap / 1000,
    bar: 1,
    unit: "s",
  });
  expect(faults.counter(await faults.state(), "http_errors")).toBe(0);
});

test("twin: a token that the files do not have is refused, and the reason said", async () => {
  const server = await faults.serve();
  await faults.sync(server);
  server.token = "another";
  server.endWatches();
  const isRefused = ({ source }: AgentReport) => (source.reason ?? "").includes("401 Unauthorized");
  expect((await faults.says("it is refused", isRefused)).source.state).toBe("disconnected");
});

test("a cold start: the configured server is dead, one that was remembered answers", async () => {
  const ca = authority("ca");
  const server = await faults.serve({ tls: ca.issue("IP:127.0.0.1") });
  server.put("services", service("kubernetes", "10.96.0.1", "default"));
  const endpoints = slice("kubernetes", "kubernetes", ["127.0.0.1"]);
  server.put("endpointslices", {
    ...endpoints,
    metadata: { ...endpoints.metadata, namespace: "default" },
    ports: [{ name: "https", protocol: "TCP", port: server.port }],
  });
  const file = join(faults.bed.dir, "ca.crt");
  writeFileSync(file, ca.certificate);
  const cluster = { "certificate-authority": file };
  const first = faults.start(faults.kubeconfig(server.url, { cluster }));
  await faults.synced(first);
  const memory = join(faults.bed.stateDir, "api-servers.json");
  const remembered = await first.until("it remembers", () => {
    const { endpoints: urls } = JSON.parse(readFileSync(memory, "utf8")) as { endpoints: string[] };
    // 127/8 is no endpoint that is served, but it is an API server's address all the same.
    return urls.length > 0 ? urls : undefined;
  });
  expect(remembered).toEqual([server.url]);
  await first.stop("SIGKILL");
  rmSync(join(faults.bed.bpffs, "portolan"), { recursive: true });
  const dead = await faults.serve();
  await dead.stop();
  const path = faults.kubeconfig(dead.url.replace("http:", "https:"), { cluster });
  const took = await faults.seconds(() => faults.synced(faults.start(path)));
  expect((await faults.state()).source.peer).toBe(server.url);
  figure({ row: 20, what: "cold start, configured server dead: in sync after", bar: 10, ...took });
});

test("a thousand connections made and lost, under TLS too: descriptors stay", { timeout: 600_000 }, async () => {
  const ca = authority("ca");
  const tls = ca.issue("IP:127.0.0.1");
  const file = join(faults.bed.dir, "ca.crt");
  writeFileSync(file, ca.certificate);
  const server = await faults.serve({ tls });
  let lost = 0;
  const traps = await faults.inside(() =>
    Promise.all(
      Array.from({ length: TRAPS }, (_, i) => {
        const trap = createServer((socket) => {
          lost++;
          socket.resetAndDestroy();
        });
        return new Promise<typeof trap>((resolve) =>
          trap.listen(FIRST_TRAP_PORT + i, "127.0.0.1", () => resolve(trap)),
        );
      }),
    ),
  );
  const urls = traps.map((trap) => `https://127.0.0.1:${(trap.address() as { port: number }).port}`);
  try {
    const cluster = { "certificate-authority": file };
    const agent = faults.start(faults.kubeconfig(server.url, { cluster }), [apiServers(urls)]);
    await faults.synced(agent);
    await faults.live(server);
    await quiet(server);
    const before = fds(agent.pid);
    lost = 0;
    // Every second watch is cut off before its answer: all other servers are tried before this one again.
    let asked = 0;
    server.intercept = ({ kind, resource }, response) => {
      if (kind !== "watch" || resource !== "services" || ++asked % 2 === 0) return false;
      response.destroy();
      return true;
    };
    while (lost < 1_000) {
      server.put("services", service("web", "10.96.0.80"));
      server.resetWatches("services");
      await sleep(100);
    }
    server.intercept = null;
    await faults.live(server);
    await quiet(server);
    const changed = () => Math.abs(fds(agent.pid) - before);
    await eventually("its end of them is closed", () => changed() <= 2 || undefined).catch(() => undefined);
    figure({ row: 24, what: `${lost} connections made and lost: descriptors gained or lost`, seen: changed(), bar: 2 });
    figure({
      row: 24,
      what: "the same: sockets open at the server beyond one a watch",
      seen: server.openSockets - server.openWatches,
      bar: 2,
    });
  } finally {
    for (const trap of traps) trap.close();
  }
});
