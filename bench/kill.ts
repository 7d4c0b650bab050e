// SPDX-License-Identifier: Apache-2.0
// Kills the agent again and again under a steady stream of new connections, while a supervisor restarts it: not one
// connection may fail, and long ones must go on.

import { setTimeout as sleep } from "node:timers/promises";
import type { Daemon } from "../test/support/daemon.ts";
import { AgentHome, inSync } from "./agent.ts";
import { Bed } from "./bed.ts";
import { benchServices, manifests } from "./services.ts";

interface KillOptions {
  readonly seconds: number;
  readonly everySec: number;
  /** New connections a second. */
  readonly rate: number;
}

const SERVICES = 200;
const LONG_CONNECTIONS = 100;
/** So many restarted agents must have been in sync before they were killed in turn; or nothing was put to the test. */
const FEWEST_SYNCED = 3;
/** One kill in so many comes wherever the agent is in its start. */
const UNPREPARED = 4;

interface KillResult {
  readonly opened: number;
  readonly failed: number;
  readonly wrongPeers: number;
  readonly slowestMs: number;
  readonly seconds: number;
  readonly longConnections: number;
  readonly exchanges: number;
  readonly longFailed: number;
  readonly kills: number;
  /** Restarts that reached "in sync" before they were killed in turn. */
  readonly synced: number;
}

/** What an agent must not need: connections go on between its death and its next sync. */
async function killBenchmark(options: KillOptions): Promise<KillResult> {
  const bed = await Bed.open();
  try {
    const services = benchServices(SERVICES);
    const folder = bed.folder("manifests");
    for (const [name, content] of manifests(services)) bed.write(`manifests/${name}`, content);
    const node = await bed.addNode("kill");
    const home = await AgentHome.make(bed, { label: "kill", node, cgroup: bed.cgroup("kill") });
    const start = (): Daemon => home.start([`--source=dir:${folder}`]);
    const agent = start();
    await inSync(agent);
    const targets = services.filter(({ kind }) => kind === "tcp").map(({ clusterIp, port }) => `${clusterIp}:${port}`);
    const echo = services.find(({ kind }) => kind === "echo");
    const numbers = [options.rate, options.seconds, LONG_CONNECTIONS].map(String);
    const argv = [await bed.compile("hammer"), ...numbers, targets.join(","), `${echo?.clusterIp}:${echo?.port}`];
    const hammer = bed.daemon(argv, "hammer", { netns: node.netns, cgroup: home.cgroup });
    const killed = await killUntil(hammer, agent, start, options.everySec);
    const exit = await hammer.exited;
    const line = hammer
      .log()
      .split("\n")
      .find((text) => text.startsWith("{"));
    if (exit.code !== 0 || !line) throw new Error(`hammer: ${exit.code ?? exit.signal}: ${hammer.log()}`);
    const complaints = hammer.log().replace(line, "").trim();
    if (complaints) console.log(complaints);
    return { ...(JSON.parse(line) as Omit<KillResult, keyof typeof killed>), ...killed };
  } finally {
    await bed.close();
  }
}

async function killUntil(hammer: Daemon, first: Daemon, start: () => Daemon, everySec: number) {
  let agent = first;
  let kills = 0;
  let synced = 0;
  while (!hammer.exit) {
    await Promise.race([sleep(everySec * 1000), hammer.exited]);
    if (kills % UNPREPARED !== UNPREPARED - 1) await Promise.race([inSync(agent), hammer.exited]);
    if (hammer.exit) break;
    if (kills > 0 && agent.log().includes('"in sync"')) synced++;
    await agent.stop("SIGKILL");
    kills++;
    agent = start();
  }
  return { kills, synced };
}

/** Runs it, prints what happened beside the goal; true if the goal was met. */
export async function killMain(options: KillOptions): Promise<boolean> {
  const result = await killBenchmark(options);
  const perSecond = result.opened / result.seconds;
  const wanted = Math.min(50_000, options.seconds * 1_000);
  const passed =
    result.synced >= Math.min(FEWEST_SYNCED, options.seconds / options.everySec - 2) &&
    result.failed === 0 &&
    result.wrongPeers === 0 &&
    result.longFailed === 0 &&
    result.opened >= wanted;
  console.log(`kill -9 of the agent every ${options.everySec} s for ${options.seconds} s: ${result.kills} kills`);
  console.log(`  agents in sync again before the next kill   ${result.synced} of ${Math.max(0, result.kills - 1)}`);
  console.log(
    `  new connections                             ${result.opened} (goal ${wanted}), ${perSecond.toFixed(0)} a second`,
  );
  console.log(`  failed, wrong peer name                     ${result.failed}, ${result.wrongPeers} (goal 0, 0)`);
  console.log(`  slowest connection                          ${result.slowestMs.toFixed(1)} ms`);
  console.log(
    `  long connections broken                     ${result.longFailed} of ${result.longConnections} (goal 0), ${result.exchanges} exchanges`,
  );
  console.log(passed ? "pass" : "FAIL");
  return passed;
}
