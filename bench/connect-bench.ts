// SPDX-License-Identifier: Apache-2.0
// The connection benchmark: one short connection at a time through portolan and through kube-proxy's modes, all in one
// run. Quick: rules generated in kube-proxy's shape. Full: the real kube-proxy.

import { join } from "node:path";
import { AgentHome, inSync } from "./agent.ts";
import { Bed } from "./bed.ts";
import { connectRows, runProblems } from "./connect-goals.ts";
import { generatedLane } from "./generated.ts";
import { type Row, table } from "./goals.ts";
import { Interactive } from "./interactive.ts";
import { KubeProxies } from "./kube-proxy.ts";
import { armName, armsFile, directArms, type Lane, laneArms, type Plain } from "./lane.ts";
import { machineFacts } from "./machine.ts";
import { type Measured, measure } from "./measure.ts";
import { Observer } from "./observer.ts";
import { plot } from "./plot.ts";
import { connectResult, json, save } from "./results.ts";
import { benchServices, manifests } from "./services.ts";

export interface ConnectOptions {
  readonly form: "quick" | "full";
  readonly rounds: number;
  readonly sizes: readonly number[];
  /** Sizes for nftables, whose load at 10,000 takes minutes. */
  readonly nftablesSizes: readonly number[];
  readonly publish: boolean;
}

/** A void run is repeated: what disturbed it was the machine. */
const ATTEMPTS = 3;
const HELD_CONNECTIONS = 50;

interface PortolanLane extends Lane {
  readonly home: AgentHome;
}

/** A real agent with this many Services from a folder, in a cgroup that only its own arms enter. */
async function portolanLane(bed: Bed, plain: Plain, count: number): Promise<PortolanLane> {
  const label = `portolan-${count}`;
  const services = benchServices(count);
  const folder = bed.folder(`${label}-manifests`);
  for (const [name, content] of manifests(services)) bed.write(join(`${label}-manifests`, name), content);
  const cgroup = bed.cgroup(label);
  const home = await AgentHome.make(bed, { label, node: plain.node, cgroup });
  const started = performance.now();
  await inSync(home.start([`--source=dir:${folder}`]));
  const loadSec = (performance.now() - started) / 1000;
  return { mode: "portolan", count, node: plain.node, cgroup, services, loadSec, home };
}

const say = (text: string): void => console.log(text);

const describe = ({ mode, count, loadSec }: Lane): string =>
  `  ${mode.padEnd(16)} ${String(count).padStart(6)} Services in place after ${loadSec.toFixed(2)} s`;

/** Every lane of the benchmark, one after the other. */
async function prepare(
  bed: Bed,
  plain: Plain,
  options: ConnectOptions,
): Promise<{ lanes: Lane[]; ours: PortolanLane[] }> {
  const lanes: Lane[] = [];
  const ours: PortolanLane[] = [];
  const add = (lane: Lane): void => {
    lanes.push(lane);
    say(describe(lane));
  };
  const real = options.form === "full" ? await KubeProxies.start(bed) : null;
  for (const count of options.sizes) {
    const services = benchServices(count);
    await real?.grow(services);
    for (const mode of ["iptables-nft", "iptables-legacy", "nftables"] as const) {
      if (mode === "nftables" && !options.nftablesSizes.includes(count)) continue;
      add(real ? await real.lane(mode, services) : await generatedLane(bed, mode, count));
    }
  }
  await real?.stop();
  for (const count of options.sizes) {
    const lane = await portolanLane(bed, plain, count);
    ours.push(lane);
    add(lane);
  }
  return { lanes, ours };
}

/** Opens connections, looks whether the kernel's counters say so, closes them and looks again. */
async function checkCounters(bed: Bed, program: string, lane: PortolanLane): Promise<void> {
  using observer = new Observer(lane.home.maps);
  const arms = bed.write("arms", armsFile(laneArms(lane)));
  const count = (expected: number): void => {
    const counted = observer.activeConnections();
    if (counted === expected) return;
    throw new Error(`portolan with ${lane.count} Services counts ${counted} open connections of ${expected}`);
  };
  for (const what of ["node/last", "pod/last"]) {
    count(0);
    const argv = [program, "hold", arms, armName("portolan", lane.count, what), String(HELD_CONNECTIONS)];
    const client = new Interactive(argv);
    try {
      await client.line("held");
      count(HELD_CONNECTIONS);
      await client.end("closed");
      count(0);
    } finally {
      client.kill();
    }
  }
}

/** Measures until direct connections agree with themselves and nothing failed. */
async function measureCounting(lanes: readonly Lane[], attempt: () => Promise<Measured>): Promise<Measured> {
  for (let n = 1; ; n++) {
    const measured = await attempt();
    const problems = runProblems(measured);
    if (problems.length === 0) return measured;
    say(`this run does not count:\n  ${problems.join("\n  ")}`);
    if (n < ATTEMPTS) continue;
    say(`\n${overview(measured, lanes)}\n`);
    throw new Error(`no run of ${ATTEMPTS} counts: the figures above are those of the last`);
  }
}

/** ratio to direct by mode and number of Services, for people. */
function overview(measured: Measured, lanes: readonly Lane[]): string {
  const whats = ["node/first", "node/last", "pod/last", "none", "affinity", "udp", "udp-connected"];
  const head = `${"connect() / direct".padEnd(24)}${whats.map((what) => what.padStart(14)).join("")}`;
  const bases: Record<string, string> = {
    "pod/last": "direct/pod",
    udp: "direct/udp",
    "udp-connected": "direct/udp-connected",
  };
  const lines = lanes.map(({ mode, count }) => {
    const cells = whats.map((what) => {
      const arm = armName(mode, count, what);
      const text = measured.first.has(arm)
        ? measured.first.compare(arm, bases[what] ?? "direct/node").ratio.value.toFixed(3)
        : "–";
      return text.padStart(14);
    });
    return `${mode.padEnd(16)}${String(count).padStart(8)}${cells.join("")}`;
  });
  return [head, ...lines].join("\n");
}

/** Runs it and prints the figures beside the goals; gives the rows. */
export async function connectBenchmark(options: ConnectOptions): Promise<Row[]> {
  const bed = await Bed.open();
  try {
    const program = await bed.compile("connect");
    const plain: Plain = { node: await bed.addNode("plain"), cgroup: bed.cgroup("plain") };
    const { lanes, ours } = await prepare(bed, plain, options);
    for (const lane of ours) await checkCounters(bed, program, lane);
    say(`peer names and connection counts are right with ${ours.map(({ count }) => count).join(", ")} Services`);
    const arms = [...directArms(plain), ...lanes.flatMap(laneArms)];
    say(`measuring ${arms.length} arms, ${options.rounds} rounds of 20 calls each`);
    const measured = await measureCounting(lanes, () => measure(bed, program, arms, options.rounds));
    for (const lane of ours) await checkCounters(bed, program, lane);
    const rows = connectRows(measured);
    say(`\n${overview(measured, lanes)}\n\n${table(rows)}`);
    const result = connectResult(options.form, await machineFacts(), measured, { lanes, rows });
    say(`\nresults: ${save(`${options.form}.json`, json(result), options.publish)}`);
    // The published picture is the full run's.
    if (options.form === "full" || !options.publish) {
      say(`picture: ${save("connect.svg", plot(result), options.publish)}`);
    }
    return rows;
  } finally {
    await bed.close();
  }
}
