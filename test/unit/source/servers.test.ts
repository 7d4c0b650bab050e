// SPDX-License-Identifier: Apache-2.0
// Several API servers: order, rotation, TLS names, and the memory of them for a cold start.

import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { KubernetesSource } from "../../../src/source/kubernetes.ts";
import { type KnownServers, recallServers, rememberServers, ServerPool } from "../../../src/source/servers.ts";
import { FaultApiServer } from "../../support/api-server.ts";
import { CertificateAuthority, type ServerTls } from "../../support/certificates.ts";
import { kubeconfig, service, slice } from "./objects.ts";
import { RecordingSink } from "./recording-sink.ts";
import { ScaledClock } from "./scaled-clock.ts";

const NONE: KnownServers = { endpoints: [], serviceAddresses: [] };
let certificates: string;
let authority: CertificateAuthority;
/** One CA for all. */
const issued = new Map<string, ServerTls>();
let directory: string;
let source: KubernetesSource | null = null;
let clock: ScaledClock;
const servers: FaultApiServer[] = [];

beforeAll(() => {
  certificates = mkdtempSync(join(tmpdir(), `portolan-certificates-${process.pid}-`));
  authority = new CertificateAuthority(certificates);
  const names = { ip: "IP:127.0.0.1", name: "DNS:api.cluster.test", service: "IP:10.96.0.1", other: "IP:192.0.2.1" };
  for (const [name, subject] of Object.entries(names)) issued.set(name, authority.issue(subject));
});

afterAll(() => rmSync(certificates, { recursive: true, force: true }));

beforeEach(() => {
  clock = new ScaledClock(50);
  directory = mkdtempSync(join(tmpdir(), `portolan-servers-${process.pid}-`));
});

afterEach(async () => {
  await source?.stop();
  source = null;
  for (const server of servers.splice(0)) await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

const ca = () => Buffer.from(authority.certificate).toString("base64");

async function serve(certificate: string, port = 0): Promise<FaultApiServer> {
  const server = await FaultApiServer.start({ port, tls: issued.get(certificate) ?? null });
  servers.push(server);
  server.put("services", service("kubernetes", "10.96.0.1", "default"));
  const endpoints = slice("kubernetes", ["127.0.0.1"], "kubernetes", "default");
  endpoints["ports"] = [{ name: "https", port: server.port }];
  server.put("endpointslices", endpoints);
  return server;
}

async function load(
  configured: string,
  explicit: readonly string[] = [],
  cluster: Record<string, unknown> = {},
): Promise<RecordingSink> {
  const sink = new RecordingSink();
  source = await KubernetesSource.load({
    kubeconfig: kubeconfig(directory, configured, { cluster: { "certificate-authority-data": ca(), ...cluster } }),
    servers: explicit,
    stateDir: join(directory, "state"),
    clock,
  });
  source.start(sink);
  return sink;
}

const pool = (configured: string, explicit: string[], known: KnownServers, configuredIsService = false) =>
  new ServerPool({ explicit, configured, known, configuredIsService });

test("order: explicit, configured, remembered; a Service's address last", () => {
  const known = { endpoints: ["https://10.0.0.1:6443"], serviceAddresses: ["10.96.0.1", "fd00:96::1"] };
  expect(pool("https://lb:6443", ["https://a:1"], known).all).toEqual([
    "https://a:1",
    "https://lb:6443",
    "https://10.0.0.1:6443",
  ]);
  expect(pool("https://10.96.0.1", [], known).all).toEqual(["https://10.0.0.1:6443", "https://10.96.0.1"]);
  expect(pool("https://[fd00:96::1]:443", [], known).all[0]).toBe("https://10.0.0.1:6443");
  expect(pool("https://name:443", [], known, true).all[0]).toBe("https://10.0.0.1:6443");
  expect(pool("https://10.96.0.1", [], NONE).all).toEqual(["https://10.96.0.1"]);
});

test("rotation: once per failure, however many tell of it", () => {
  const two = pool("https://b", ["https://a"], NONE);
  two.failed("https://a");
  two.failed("https://a");
  expect(two.current).toBe("https://b");
  two.failed("https://b");
  expect(two.current).toBe("https://a");
});

test("learning: a server in use stays, a Service's address is left for an endpoint", () => {
  const known = { endpoints: ["https://10.0.0.1:6443"], serviceAddresses: ["10.96.0.1"] };
  const direct = pool("https://lb", [], NONE);
  direct.learn(known);
  expect(direct.current).toBe("https://lb");
  const service = pool("https://10.96.0.1", [], NONE);
  service.learn(known);
  expect(service.current).toBe("https://10.0.0.1:6443");
});

test("the memory: written whole, for root alone, read back; nonsense is nothing", () => {
  const known = { endpoints: ["https://10.0.0.1:6443"], serviceAddresses: ["10.96.0.1"] };
  rememberServers(join(directory, "new"), known);
  expect(recallServers(join(directory, "new"))).toEqual(known);
  expect(statSync(join(directory, "new/api-servers.json")).mode & 0o777).toBe(0o600);
  for (const text of ["", "null", "[]", '{"endpoints":17}', '{"endpoints":["http://10.0.0.1","nonsense",null]}']) {
    writeFileSync(join(directory, "api-servers.json"), text);
    expect(recallServers(directory)).toEqual(NONE);
  }
});

test("a cold start: the configured Service address is dead, the remembered endpoint serves", async () => {
  const server = await serve("service");
  rememberServers(join(directory, "state"), { endpoints: [server.url], serviceAddresses: ["10.96.0.1"] });
  const sink = await load("https://10.96.0.1:443");
  // The endpoint's certificate names the Service's address only, which is the configured one.
  await sink.until(() => sink.completed);
  expect(source?.status().peer).toBe(server.url);
});

test("after the first sync the endpoints are remembered, and followed", async () => {
  const server = await serve("ip");
  const sink = await load(server.url);
  await sink.until(() => recallServers(join(directory, "state")).endpoints.length === 1);
  expect(recallServers(join(directory, "state"))).toEqual({ endpoints: [server.url], serviceAddresses: ["10.96.0.1"] });
  const moved = slice("kubernetes", ["127.0.0.1", "192.0.2.7"], "kubernetes", "default");
  moved["ports"] = [{ name: "https", port: 6443 }];
  server.put("endpointslices", moved);
  await sink.until(() => recallServers(join(directory, "state")).endpoints.length === 2);
  // An empty answer is no reason to forget.
  server.put("endpointslices", slice("kubernetes", [], "kubernetes", "default"));
  await sink.until(() => sink.slices.get("default/kubernetes")?.count === 0);
  expect(recallServers(join(directory, "state")).endpoints).toEqual([
    "https://127.0.0.1:6443",
    "https://192.0.2.7:6443",
  ]);
});

test("nothing is learned from a server that is not verified", async () => {
  const server = await serve("other");
  const sink = await load(server.url, [], {
    "certificate-authority-data": undefined,
    "insecure-skip-tls-verify": true,
  });
  await sink.until(() => sink.completed);
  expect(recallServers(join(directory, "state"))).toEqual(NONE);
});

test("a state directory that cannot be written is said, and costs nothing else", async () => {
  const server = await serve("ip");
  writeFileSync(join(directory, "state"), "a file where a folder should be");
  const sink = await load(server.url);
  await sink.until(() => source?.status().reason?.includes("not remembered") === true);
  expect(sink.completed).toBe(true);
});

test.each([
  ["a certificate for another address", "other", {}],
  ["a CA that did not sign it", "ip", { "certificate-authority-data": undefined }],
])("%s is refused, and no token is sent", async (_, certificate, cluster) => {
  const server = await serve(certificate);
  const sink = await load(server.url, [], cluster);
  await sink.until(() => /certificate|altnames/i.test(source?.status().reason ?? ""));
  expect(server.requests).toEqual([]);
});

test("tls-server-name names the certificate", async () => {
  const server = await serve("name");
  const sink = await load(server.url, [], { "tls-server-name": "api.cluster.test" });
  await sink.until(() => sink.completed);
});

test("an explicit address is verified by the configured name", async () => {
  const server = await serve("name");
  const sink = await load("https://api.cluster.test:1", [server.url]);
  await sink.until(() => sink.completed);
});

test("token and CA rotate in the middle of a watch: the next request uses the new ones, nothing is lost", async () => {
  const server = await serve("ip");
  mkdirSync(join(directory, "state"));
  writeFileSync(join(directory, "token"), "one");
  writeFileSync(join(directory, "ca.crt"), authority.certificate);
  const sink = new RecordingSink();
  const path = kubeconfig(directory, server.url, {
    user: { tokenFile: "token" },
    cluster: { "certificate-authority": "ca.crt" },
  });
  source = await KubernetesSource.load({ kubeconfig: path, servers: [], stateDir: null, clock });
  source.start(sink);
  await sink.until(() => sink.completed && server.openWatches === 2);
  const connections = server.connections;
  writeFileSync(join(directory, "token"), "two");
  server.endWatches();
  await sink.until(() => server.openWatches === 2 && server.count("watch") === 2);
  expect(server.connections).toBe(connections);
  writeFileSync(join(directory, "ca.crt"), authority.certificate.repeat(2));
  server.endWatches();
  await sink.until(() => server.openWatches === 2 && server.count("watch") === 4);
  expect(server.connections).toBe(connections + 2);
  expect(server.requests.map(({ authorization }) => authorization)).toEqual([
    ...Array(2).fill("Bearer one"),
    ...Array(4).fill("Bearer two"),
  ]);
  expect(server.openSockets).toBe(2);
  server.put("services", service("web", "10.96.0.9"));
  await sink.until(() => sink.services.has("shop/web"));
});

test("many requests, one connection each kind", async () => {
  const server = await serve("ip");
  const sink = await load(server.url);
  await sink.until(() => sink.completed && server.openWatches === 2);
  for (let round = 1; round <= 20; round++) {
    // A watch that lived a second is followed by the next at once.
    await clock.pass(3_000);
    server.endWatches();
    await sink.until(() => server.count("watch") >= 2 * round && server.openWatches === 2);
  }
  expect(server.connections).toBe(2);
});
