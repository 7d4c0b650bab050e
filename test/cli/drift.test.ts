// SPDX-License-Identifier: Apache-2.0
// Somebody writes to the maps, removes pins, takes programs off their hooks: all is put back, counted and said, and nothing
// else is touched. DRIFT_SEED: other damage.

import { readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BpfLink, BpfMap, BpfObject } from "libbpf-ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Damage } from "../../src/agent/audit.ts";
import { askAgent } from "../../src/agent/control-client.ts";
import type { AgentReport } from "../../src/agent/report.ts";
import { MAP_NAMES } from "../../src/datapath/maps.ts";
import { type Daemon, eventually } from "../support/daemon.ts";
import { random } from "../support/damage.ts";
import { HANDS } from "../support/kernel-damage.ts";
import { ANSWER, Bed, call, logLines, service, slice } from "./bed.ts";

const SERVICES = 6;
const DAMAGES = 100;
const REPAIRED_MS = 60_000;

/** With a load balancer address that only some may call. */
const RANGED = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "ranged", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    clusterIP: "10.96.0.99",
    clusterIPs: ["10.96.0.99"],
    ports: [{ protocol: "TCP", port: 80, nodePort: 30_099 }],
    loadBalancerSourceRanges: ["10.77.0.0/24", "192.0.2.0/28", "198.51.100.7/32"],
  },
  status: { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } },
};

let bed: Bed;
let agent: Daemon;
beforeEach(async () => {
  bed = await Bed.create();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  for (let n = 1; n <= SERVICES; n++) {
    const spec = { clusterIp: `10.96.0.${n}`, nodePort: 30_080 + n };
    bed.manifest(`web-${n}.yaml`, service(`web-${n}`, spec), ...slice(`web-${n}`, [8080]));
  }
});
afterEach(() => bed?.remove());

async function start(periodSec: number | null): Promise<void> {
  const file = join(bed.dir, "config.yaml");
  const period = periodSec === null ? "" : `auditPeriodSec: ${periodSec}\n`;
  writeFileSync(file, `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n${period}`);
  ({ agent } = await bed.synced([`--config=${file}`]));
}

const report = async (): Promise<AgentReport> => {
  const answer = await askAgent<AgentReport>(bed.runDir, "/v1/status");
  if (answer === null) throw new Error("no agent answers");
  return answer;
};

/** What the agent says once it has mended so many in all. */
const repaired = (total: number): Promise<AgentReport["audit"]> =>
  eventually(
    `${total} repairs`,
    async () => {
      const { audit } = await report();
      return audit.repairedTotal >= total ? audit : undefined;
    },
    { withinMs: REPAIRED_MS },
  );

const pin = (...parts: string[]): string => join(bed.pins, ...parts);
const openMap = (name: string): BpfMap => BpfMap.open(pin("maps", name));

/** Rows of the hashes and elements in use of the arrays, as text. */
function snapshot(): string[] {
  const hashes = ["pt_frontends", "pt_names", "pt_node_addrs", "pt_src_ranges"].flatMap((name) => {
    using map = openMap(name);
    return Array.from(map.entries(), ([key, value]) => `${name} ${Buffer.concat([key, value]).toString("hex")}`);
  });
  const arrays = ["pt_services", "pt_slots", "pt_backends", "pt_address_bits"].flatMap((name) => {
    using map = openMap(name);
    using view = map.mmap({ readOnly: true });
    const words = new Uint32Array(view.buffer);
    const used: string[] = [];
    for (let at = 0; at < words.length; at++) if (words[at] !== 0) used.push(`${name} ${at} ${words[at]}`);
    return used;
  });
  return [...hashes, ...arrays].sort();
}

const everyServiceAnswers = async (): Promise<void> => {
  for (let n = 1; n <= SERVICES; n++) expect(await call(bed.served, `10.96.0.${n}`, 80)).toBe("hello");
};

test("100 damages in a row: each is found within a minute, counted once, of its kind, and undone; nothing else is touched", async () => {
  bed.manifest("ranged.yaml", RANGED, ...slice("ranged", [8080]));
  await start(1);
  await everyServiceAnswers();
  const before = snapshot();
  const pins = ["maps", "links", "progs"].map((dir) => readdirSync(pin(dir)).sort());
  const pick = random(Number(process.env["DRIFT_SEED"] ?? 1));
  const counts = new Map<Damage, number>();
  let slowestMs = 0;
  for (let n = 1; n <= DAMAGES; n++) {
    const [kind, hand] = HANDS[n <= HANDS.length ? n - 1 : pick(HANDS.length)] ?? [];
    if (kind === undefined || hand === undefined) throw new Error("no such damage");
    hand(bed.pins, pick);
    const damagedMs = performance.now();
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const audit = await repaired(n);
    slowestMs = Math.max(slowestMs, performance.now() - damagedMs);
    const found = Object.entries(audit.repaired).filter(([, count]) => count > 0);
    expect(Object.fromEntries(found), `damage ${n}: ${kind}`).toEqual(Object.fromEntries(counts));
    expect(audit.failure).toBe(null);
    expect(snapshot(), `damage ${n}: ${kind}`).toEqual(before);
    if (n % 10 === 0) await everyServiceAnswers();
  }
  await everyServiceAnswers();
  expect(["maps", "links", "progs"].map((dir) => readdirSync(pin(dir)).sort())).toEqual(pins);
  expect(bed.attached()).toHaveLength(11);
  expect((await bed.cli("status")).stdout).toMatch(/audit +100 repairs/);
  console.log(`slowest repair ${Math.round(slowestMs)} ms (bar ${REPAIRED_MS})`);
}, 900_000);

test("the whole pin directory goes while connections are made, and comes back: not one fails", async () => {
  await start(1);
  const before = snapshot();
  let stop = false;
  const calls = (async () => {
    const answers: string[] = [];
    while (!stop) answers.push(await call(bed.served, "10.96.0.1", 80));
    return answers;
  })();
  // At once: what is put back meanwhile is not to go with the rest.
  renameSync(join(bed.bpffs, "portolan"), join(bed.bpffs, "gone"));
  rmSync(join(bed.bpffs, "gone"), { recursive: true });
  const pins = MAP_NAMES.length + 11 + 11;
  const audit = await repaired(pins);
  expect(audit.repaired).toMatchObject({ "map-pin": MAP_NAMES.length, "link-pin": 11, "program-pin": 11, link: 0 });
  stop = true;
  expect(new Set(await calls)).toEqual(new Set(["hello"]));
  expect(snapshot()).toEqual(before);
  // The lock is on the new directory: a second agent is refused, and one that follows adopts what is there.
  const second = bed.run([`--run-dir=${join(bed.dir, "run2")}`]);
  expect((await second.exited).code).toBe(1);
  expect(second.log()).toContain("another portolan agent");
  await agent.stop("SIGKILL");
  expect((await bed.synced()).line).toMatchObject({ writes: 0 });
});

test("another program behind a link of ours gives way", async () => {
  await start(1);
  const ours = bed.attached();
  using object = BpfObject.open(join(import.meta.dirname, "../../dist/bpf/sock.bpf.o"));
  object.load();
  using link = BpfLink.open(pin("links", "pt_connect4"));
  using other = object.program("pt_connect4");
  link.update(other);
  expect(bed.attached()).not.toEqual(ours);
  const audit = await repaired(1);
  expect(audit.repaired).toMatchObject({ link: 1 });
  expect(bed.attached()).toEqual(ours);
});

test("said in one line, however much it was", async () => {
  await start(3);
  using map = openMap("pt_frontends");
  // Between two audits: not a part for this one and the rest for the next.
  const { audits } = (await report()).audit;
  await eventually("an audit", async () => (await report()).audit.audits > audits || undefined);
  process.kill(agent.pid, "SIGSTOP");
  for (const key of [...map.keys()]) map.delete(key);
  process.kill(agent.pid, "SIGCONT");
  const { repaired: counts } = await repaired(1);
  const lines = logLines(agent).filter(({ msg }) => String(msg).startsWith("somebody changed the datapath"));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ repaired: { frontend: counts.frontend } });
  expect(counts.frontend).toBe(SERVICES * 3);
  expect(lines[0]?.["examples"]).toHaveLength(5);
  await everyServiceAnswers();
});

test("twin: with hours between two audits a row stays lost", async () => {
  await start(86_400);
  using map = openMap("pt_frontends");
  for (const key of [...map.keys()]) map.delete(key);
  await sleep(3_000);
  expect([...map.keys()]).toEqual([]);
  expect((await report()).audit).toMatchObject({ audits: 0, repairedTotal: 0 });
  expect(await call(bed.served, "10.96.0.1", 80)).not.toBe("hello");
});

test("by default within a minute", async () => {
  await start(null);
  using map = openMap("pt_names");
  const [key] = [...map.keys()];
  map.delete(key ?? new Uint8Array(4));
  renameSync(pin("maps", "pt_stats"), pin("maps", "pt_elsewhere"));
  const audit = await repaired(2);
  expect(audit.repaired).toMatchObject({ name: 1, "map-pin": 1 });
  expect(audit.periodSec).toBe(30);
});
