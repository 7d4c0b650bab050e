// SPDX-License-Identifier: Apache-2.0
// Connected UDP clients on the node and in a pod, the real agent with all capabilities and with two: an endpoint goes,
// and they are answered by another one within a second.

import { mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { queryCgroup, sys } from "libbpf-ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import { findCgroup } from "../../src/node/cgroup.ts";
import { command, Daemon, eventually } from "../support/daemon.ts";
import { type Host, NodeNamespace } from "../support/netns.ts";
import { Stall } from "../support/stall.ts";
import { UdpClients, type UdpTarget } from "../support/udp-client.ts";

const ROUNDS = 20;
const WITHIN_MS = 1_000;
const CLUSTER_IPS = ["10.96.0.10", "fd00:96::10"] as const;
const NEAR_IPS = ["10.96.0.11", "fd00:96::11"] as const;
const NODE_PORT = 30053;
const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

/** For `node -e`: answers every datagram with NAME, and says when each came. */
const SERVER = `
const [name] = process.argv.slice(1);
const socket = require("node:dgram").createSocket("udp6");
socket.on("message", (data, from) => {
  console.log("at " + Date.now());
  socket.send(name + ":" + data, from.port, from.address);
});
socket.bind(53, "::", () => console.log("ready"));
`;

const dir = mkdtempSync(join(tmpdir(), "portolan-dead-peers-"));
const bpffs = join(dir, "bpf");
const cgroup = join(findCgroup()?.dir ?? "", `portolan-dead-peers-${process.pid}`);
const daemons: Daemon[] = [];
const backends = new Map<string, { readonly host: Host; readonly process: Daemon }>();
let node: NodeNamespace;
let clientPod: Host;
let clients: UdpClients[] = [];
let agent: Daemon | null = null;
let stall: Stall;

beforeAll(async () => {
  for (const made of [bpffs, cgroup, join(dir, "manifests")]) mkdirSync(made);
  sys.mount("dead-peers", bpffs, "bpf", 0, "mode=0700");
  node = await NodeNamespace.create("ptdead");
  for (const name of ["a", "b"]) {
    const host = await node.addPod();
    const process = daemon([globalThis.process.execPath, "-e", SERVER, name], { netns: host.netns });
    backends.set(name, { host, process });
    await process.until("ready", () => (process.log().includes("ready") ? true : undefined));
  }
  clientPod = await node.addPod();
});

afterAll(async () => {
  for (const client of clients) await client.stop();
  for (const one of daemons.toReversed()) await one.stop("SIGKILL");
  await node?.remove();
  sys.umount(bpffs);
  await eventually("the cgroup is empty", () => {
    rmdirSync(cgroup);
    return true;
  });
  rmSync(dir, { recursive: true });
});

function daemon(argv: readonly string[], place: { netns: string; capabilities?: readonly string[] }): Daemon {
  const started = new Daemon(argv, join(dir, `${daemons.length}.log`), place);
  daemons.push(started);
  return started;
}

const where = [`--bpffs=${bpffs}`, `--run-dir=${join(dir, "run")}`];

async function startAgent(capabilities: readonly string[] | null): Promise<Daemon> {
  const flags = [`--source=dir:${join(dir, "manifests")}`, `--cgroup=${cgroup}`, `--state-dir=${join(dir, "state")}`];
  const argv = [portolan, "run", ...flags, "--hostname-override=node1", "--replacement=probe", ...where];
  const place = { netns: node.netns, ...(capabilities === null ? {} : { capabilities }) };
  const started = daemon(argv, place);
  await started.until("in sync", () => (started.log().includes('"in sync"') ? true : undefined));
  agent = started;
  return started;
}

async function report(): Promise<AgentReport> {
  const answer = await command([portolan, "status", ...where, "-o", "json"], { netns: node.netns });
  return (JSON.parse(answer) as { agent: AgentReport }).agent;
}

/** One Service, dual stack, with these endpoints, all ready: elsewhere, or of "name@node" on that node. */
function program(...names: readonly string[]): number {
  return write("dns", CLUSTER_IPS, names, { type: "NodePort", ports: [{ ...DNS_PORT, nodePort: NODE_PORT }] });
}

const DNS_PORT = { protocol: "UDP", port: 53 } as const;

function write(service: string, clusterIPs: readonly string[], names: readonly string[], spec: object): number {
  const slices = (["IPv4", "IPv6"] as const).map((addressType) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${service}-${addressType.toLowerCase()}`,
      namespace: "default",
      labels: { "kubernetes.io/service-name": service },
    },
    addressType,
    ports: [{ name: "", protocol: "UDP", port: 53 }],
    endpoints: names.map((text) => {
      const [name = "", nodeName] = text.split("@");
      const host = backends.get(name)?.host;
      const addresses = [addressType === "IPv4" ? host?.ipv4 : host?.ipv6];
      return { addresses, conditions: { ready: true }, ...(nodeName === undefined ? {} : { nodeName }) };
    }),
  }));
  const object = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: service, namespace: "default" },
    spec: { clusterIP: clusterIPs[0], clusterIPs, ipFamilyPolicy: "RequireDualStack", ports: [DNS_PORT], ...spec },
  };
  const file = join(dir, "manifests", `${service}.yaml`);
  writeFileSync(`${file}.new`, JSON.stringify({ apiVersion: "v1", kind: "List", items: [object, ...slices] }));
  const sinceMs = Date.now();
  renameSync(`${file}.new`, file);
  return sinceMs;
}

async function startClients(): Promise<void> {
  const targets: UdpTarget[] = [
    { family: 4, address: CLUSTER_IPS[0], port: 53 },
    { family: 6, address: CLUSTER_IPS[1], port: 53 },
    { family: 6, address: `::ffff:${CLUSTER_IPS[0]}`, port: 53 },
    { family: 4, address: node.ipv4, port: NODE_PORT },
    { family: 6, address: node.ipv6, port: NODE_PORT },
  ];
  const loopback: UdpTarget = { family: 4, address: "127.0.0.1", port: NODE_PORT };
  clients = [
    new UdpClients({ netns: node.netns, cgroup }, [...targets, loopback]),
    new UdpClients({ netns: clientPod.netns, cgroup }, targets),
  ];
}

const answered = (names: readonly string[], sinceMs: number): Promise<number[]> =>
  Promise.all(clients.map((client) => client.answered(names, sinceMs)));

/**
 * By `now` since `sinceMs`: gives the milliseconds that the slowest took, and how many the machine took of them from those
 * who take part.
 */
async function answeredBy(now: string, sinceMs: number): Promise<{ tookMs: number; stalledMs: number }> {
  const stalledMs = stall.ms;
  const slowestMs = Math.max(...(await answered([now], sinceMs)));
  return { tookMs: slowestMs - sinceMs, stalledMs: stall.ms - stalledMs };
}

/** When the last datagram came to a backend, Unix milliseconds. */
function lastAt(name: string): number {
  const lines = backends.get(name)?.process.log().trimEnd().split("\n") ?? [];
  return Number(lines.at(-1)?.replace("at ", ""));
}

const CASES = [
  { title: "all capabilities", capabilities: null, here: "iterators", elsewhere: "iterators" },
  { title: "two", capabilities: ["bpf", "net_admin"], here: "sock-diag", elsewhere: "failing-sends" },
] as const;

describe.each(CASES)("with $title", ({ capabilities, here, elsewhere }) => {
  beforeAll(async () => {
    program("a");
    const { pid } = await startAgent(capabilities);
    await startClients();
    await answered(["a"], 0);
    stall = new Stall();
    const others = [...backends.values()].map(({ process }) => process.pid);
    for (const one of [pid, ...clients.map((client) => client.pid), ...others]) stall.follow(one);
  });

  afterAll(async () => {
    stall?.stop();
    for (const client of clients.splice(0)) await client.stop();
    await agent?.stop();
  });

  test("status says how", async () => {
    expect((await report()).deadPeers).toMatchObject({ here, elsewhere, tcp: false, stranded: 0, failure: null });
  });

  test(`answered by another one within ${WITHIN_MS} ms, ${ROUNDS} of ${ROUNDS} times; nothing is sent to the old`, async () => {
    const tooLate: object[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const [now = "", before = ""] = round % 2 === 0 ? ["b", "a"] : ["a", "b"];
      const sinceMs = program(now);
      const { tookMs, stalledMs } = await answeredBy(now, sinceMs);
      if (tookMs > WITHIN_MS + stalledMs) tooLate.push({ round, tookMs, stalledMs });
      if (round % 5 !== 4) continue;
      const overMs = sinceMs + WITHIN_MS + stalledMs;
      await sleep(Math.max(0, overMs + 500 - Date.now()));
      await eventually("a datagram to the new one", () => lastAt(now) > overMs || undefined);
      expect(lastAt(before)).toBeLessThan(overMs);
    }
    expect(tooLate).toEqual([]);
  });

  test("clients of internalTrafficPolicy Local that led nowhere are answered by the first endpoint here", async () => {
    const near = (...names: readonly string[]): number =>
      write("near", NEAR_IPS, names, { internalTrafficPolicy: "Local" });
    const { units } = (await report()).programmer;
    near("a@elsewhere");
    const all = units + NEAR_IPS.length;
    await eventually("near is programmed", async () => (await report()).programmer.units === all || undefined);
    const before = clients;
    const targets = NEAR_IPS.map((address, i): UdpTarget => ({ family: i === 0 ? 4 : 6, address, port: 53 }));
    clients = [node.netns, clientPod.netns].map((netns) => new UdpClients({ netns, cgroup }, targets));
    for (const client of clients) await client.connected();
    for (const client of clients) stall.follow(client.pid);
    await sleep(1_000);
    expect(clients.flatMap((client) => client.answerersSince(0))).toEqual([]);
    const sinceMs = near("a@elsewhere", "b@node1");
    const { tookMs, stalledMs } = await answeredBy("b", sinceMs);
    expect(tookMs).toBeLessThan(WITHIN_MS + stalledMs);
    for (const client of clients) await client.stop();
    clients = before;
    rmSync(join(dir, "manifests", "near.yaml"));
    await eventually("near is gone", async () => (await report()).programmer.units === units || undefined);
  });

  test("an agent killed before it could do anything is made up for by the next", async () => {
    program("a");
    await answered(["a"], Date.now());
    await agent?.stop("SIGKILL");
    await noProgramLeft();
    program("b");
    await sleep(300);
    const strandedMs = Date.now();
    await answered(["a"], strandedMs);
    expect(clients.flatMap((client) => client.answerersSince(strandedMs))).not.toContain("b");
    stall.follow((await startAgent(capabilities)).pid);
    const syncedMs = Date.now();
    const { tookMs, stalledMs } = await answeredBy("b", syncedMs);
    expect(tookMs).toBeLessThan(WITHIN_MS + stalledMs);
  });
});

/** What a process held goes with it, a moment after it. */
async function noProgramLeft(): Promise<void> {
  const left = () => queryCgroup(cgroup, "cgroup_inet_egress").programIds.length;
  await eventually("no program", () => left() === 0 || undefined);
}

test("an agent killed while sends fail leaves no program behind", async () => {
  program("a");
  await startAgent(["bpf", "net_admin"]);
  clients = [
    new UdpClients({ netns: clientPod.netns, cgroup }, [{ family: 4, address: CLUSTER_IPS[0], port: 53 }], {
      keep: true,
    }),
  ];
  await answered(["a"], 0);
  program("b");
  await eventually("the program", () =>
    queryCgroup(cgroup, "cgroup_inet_egress").programIds.length === 1 ? true : undefined,
  );
  await agent?.stop("SIGKILL");
  await noProgramLeft();
  const sinceMs = Date.now();
  await answered(["a"], sinceMs);
});
