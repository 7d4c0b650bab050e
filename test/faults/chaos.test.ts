// SPDX-License-Identifier: Apache-2.0
// Everything at once, at random: three API servers that do anything, a cluster that changes all the time, an agent that is
// killed, stopped and started, hands in its maps and pins, tokens and CAs that rotate. Nothing that is there is ever taken
// out of the maps, no call fails but by a hand in the maps, and in the end the maps are as they should be.
// CHAOS_SECONDS and CHAOS_SEED make it longer, and another.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { FaultApiServer } from "../support/api-server.ts";
import { CertificateAuthority } from "../support/certificates.ts";
import { ChaosServer } from "../support/chaos-server.ts";
import { Weather } from "../support/chaos-weather.ts";
import { Book, ChaosWorld } from "../support/chaos-world.ts";
import { type Daemon, eventually } from "../support/daemon.ts";
import { random } from "../support/damage.ts";
import { HANDS } from "../support/kernel-damage.ts";
import { FaultBed, fds, memory, service, slice } from "./bed.ts";
import { figure } from "./figures.ts";
import { differing, MapWatch, servedBy } from "./map-watch.ts";

const SECONDS = Number(process.env["CHAOS_SECONDS"] ?? 30);
const SEED = Number(process.env["CHAOS_SEED"] ?? 1);
/** After a backup has been put back, what it has again looks like an event that was missed. */
const RESTORES = SEED % 2 === 0 ? "bumped" : "none";
const SERVICES = 200;
const STEP_MS = 40;
/** Longer than a silent watch takes to be found, and the longest wait after it. */
const RECOVERED_MS = 180_000;
/** Connections that are kept for a moment. */
const DESCRIPTORS = 8;
/** Looks at the maps between two changes in the end: a slow machine needs more than one. */
const LOOKS = 5;
const STEADY = "10.96.200.1";
/** No Service here has source ranges. */
const DAMAGES = HANDS.filter(([kind]) => kind !== "source-range");

let faults: FaultBed;
const servers: ChaosServer[] = [];
beforeEach(async () => {
  faults = await FaultBed.create();
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await faults?.remove();
});

/** For `node -e`: calls HOST PORT again and again until its input ends; prints calls, and from when to when which failed. */
const LOAD = `
const { connect } = require("node:net");
const [host, port] = process.argv.slice(1);
let calls = 0, ended = false;
const failures = [];
process.stdin.on("end", () => { ended = true; }).resume();
function next() {
  if (ended) return console.log(JSON.stringify({ calls, failures }));
  calls++;
  let answer = "";
  const fromMs = Date.now();
  const socket = connect({ host, port: Number(port) });
  socket.setTimeout(10000, () => socket.destroy(new Error("ETIMEDOUT")));
  socket.on("data", (data) => { answer += data; });
  socket.on("error", () => undefined);
  socket.on("close", () => { if (answer !== "hello") failures.push([fromMs, Date.now()]); setTimeout(next, 20); });
}
next();
`;

interface Load {
  readonly calls: number;
  /** Unix milliseconds from which to which each was tried. */
  readonly failures: readonly (readonly [from: number, to: number])[];
}

/** Tokens and certificates as the agent finds them on disk, and the servers have them. */
class Logins {
  readonly path: string;
  readonly #dir: string;
  readonly #servers: readonly FaultApiServer[];
  #authority: CertificateAuthority;
  #rotations = 0;

  constructor(dir: string, servers: readonly FaultApiServer[], authority: CertificateAuthority) {
    this.#dir = dir;
    this.#servers = servers;
    this.#authority = authority;
    const files = {
      user: { tokenFile: join(dir, "token") },
      cluster: { "certificate-authority": join(dir, "ca.crt") },
    };
    this.#write();
    this.path = faults.kubeconfig(servers[0]?.url ?? "", files);
  }

  rotate(what: "token" | "CA"): void {
    this.#rotations++;
    if (what === "CA") {
      this.#authority = new CertificateAuthority(join(this.#dir, `ca-${this.#rotations}`));
      for (const server of this.#servers) server.present(this.#authority.issue("IP:127.0.0.1"));
    }
    this.#write();
  }

  #write(): void {
    writeFileSync(join(this.#dir, "token"), `token-${this.#rotations}`);
    writeFileSync(join(this.#dir, "ca.crt"), this.#authority.certificate);
    for (const server of this.#servers) server.token = `token-${this.#rotations}`;
  }
}

/** The agent, whichever process it is just now. */
class Agents {
  readonly all: Daemon[] = [];
  readonly #start: () => Daemon;
  /** Those whose event loop was held up by a signal. */
  readonly #stopped = new Set<number>();
  longestStallMs = 0;
  /** Events that any of them found to have been missed. */
  missed = 0;
  #killed = new Set<Daemon>();

  constructor(start: () => Daemon) {
    this.#start = start;
    this.begin();
  }

  get current(): Daemon {
    const current = this.all.at(-1);
    if (current === undefined) throw new Error("no agent");
    return current;
  }

  /** Those that ended without having been told to. */
  get deserters(): Daemon[] {
    return this.all.filter((agent) => agent.exit !== undefined && !this.#killed.has(agent));
  }

  begin(): void {
    this.all.push(this.#start());
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#killed.add(this.current);
    await this.current.stop(signal);
  }

  async freeze(ms: number): Promise<void> {
    const { pid } = this.current;
    this.#stopped.add(pid);
    process.kill(pid, "SIGSTOP");
    await sleep(ms);
    process.kill(pid, "SIGCONT");
  }

  async sample(): Promise<void> {
    const report = await faults.report();
    if (report === null) return;
    this.missed = Math.max(this.missed, faults.counter(report, "missed_events"));
    if (this.#stopped.has(report.pid)) return;
    this.longestStallMs = Math.max(this.longestStallMs, report.loopDelay.since.maxMs);
  }
}

/** Resolves when an agent has been in sync for two whole audits. */
async function audited(agents: Agents): Promise<void> {
  let begun: { pid: number; audits: number } | null = null;
  const look = async (): Promise<true | undefined> => {
    const report = await agents.current.until("an answer", async () => (await faults.report()) ?? undefined);
    if (!report.synced || report.pid !== agents.current.pid) return;
    const { audits } = report.audit;
    if (begun?.pid !== report.pid) begun = { pid: report.pid, audits };
    return audits >= begun.audits + 2 || undefined;
  };
  await eventually("two audits of one agent", look, { withinMs: RECOVERED_MS, everyMs: 200 });
}

/** All that takes part. */
class Scene {
  /** Descriptors of an agent that has just begun. */
  descriptors = 0;
  readonly pick = random(SEED);
  readonly world = new ChaosWorld(this.pick, SERVICES);
  readonly book: Book;
  readonly watch: MapWatch;
  readonly logins: Logins;
  readonly weather: Weather;
  readonly agents: Agents;
  /** Unix milliseconds from which to which calls may fail. */
  readonly damaged: [number, number][] = [];

  private constructor(transports: readonly FaultApiServer[], authority: CertificateAuthority, dir: string) {
    const { pick, world } = this;
    const { history } = world;
    history.put("services", service("steady", STEADY));
    history.put("endpointslices", slice("steady", "steady", ["10.77.0.1"]));
    for (const server of transports) servers.push(new ChaosServer({ server, history, pick, second: 1_000 }));
    this.book = new Book(history);
    this.watch = new MapWatch(faults.bed.pins, history, this.book);
    this.logins = new Logins(dir, transports, authority);
    const vices = { lies: false, restores: RESTORES } as const;
    this.weather = new Weather({ ...vices, pick, world, book: this.book, servers, mayShorten: () => true });
    const others = JSON.stringify(transports.slice(1).map(({ url }) => url));
    const config = faults.config(`auditPeriodSec: 1\nevents: false\napiServers: ${others}`);
    this.agents = new Agents(() => faults.start(this.logins.path, [`--config=${config}`]));
  }

  static async open(): Promise<Scene> {
    const dir = join(faults.bed.dir, "login");
    mkdirSync(dir);
    const authority = new CertificateAuthority(join(dir, "ca"));
    const tls = authority.issue("IP:127.0.0.1");
    const scene = new Scene(
      [await faults.serve({ tls }), await faults.serve({ tls }), await faults.serve({ tls })],
      authority,
      dir,
    );
    await faults.synced(scene.agents.current);
    scene.descriptors = fds(scene.agents.current.pid);
    return scene;
  }

  /** A hand in the maps or pins, and until that is mended. */
  async damage(): Promise<void> {
    const { pick, watch, agents, damaged } = this;
    const [kind = "link", hand] = DAMAGES[pick(DAMAGES.length)] ?? [];
    // With something foreign among the pins none starts, as it should be.
    const isPin = kind.endsWith("-pin");
    if (isPin) {
      this.weather.calm();
      await audited(agents);
    }
    const began = Date.now();
    watch.close();
    hand?.(faults.bed.pins, pick);
    if (pick(3) === 0 && !isPin) {
      await agents.end("SIGKILL");
      agents.begin();
    }
    // What nobody can mend without an API server is not what is looked for here.
    this.weather.calm();
    await audited(agents);
    watch.open();
    damaged.push([began, Date.now()]);
  }

  /** Changes, and looks at what becomes of them in the maps. */
  async live(ms: number): Promise<void> {
    const { world, weather, watch, agents, book } = this;
    const endMs = performance.now() + ms;
    for (let step = 0; performance.now() < endMs; step++) {
      if (step % 12 === 0) weather.change();
      world.step();
      await sleep(STEP_MS);
      if (step % 6 === 0) watch.look();
      if (step % 25 === 0) await agents.sample();
      expect([...book.wrong, ...watch.wrong], agents.current.tail()).toEqual([]);
    }
  }

  /** Milliseconds until the maps are as they should be; throws with what is not. */
  async recover(): Promise<number> {
    const { world, weather, watch } = this;
    const startMs = performance.now();
    weather.calm();
    let left: string[];
    for (let looks = 0; ; looks++) {
      if (looks % LOOKS === 0) world.step();
      await sleep(300);
      watch.look();
      left = differing(servedBy(faults.bed.pins), world.history);
      if (left.length === 0 || performance.now() - startMs > RECOVERED_MS) break;
    }
    expect(left).toEqual([]);
    return performance.now() - startMs;
  }
}

/** What happens to the agent and around it, one after the other, until the signal. */
async function trouble(scene: Scene, signal: AbortSignal): Promise<void> {
  const { pick, agents, logins } = scene;
  while (!signal.aborted) {
    await sleep(500 + pick(1_500));
    switch (pick(8)) {
      case 0:
      case 1:
        await agents.end(pick(4) === 0 ? "SIGTERM" : "SIGKILL");
        await sleep(pick(2) * pick(3_000));
        agents.begin();
        break;
      case 2:
        await agents.freeze(pick(4_000));
        break;
      case 3:
        logins.rotate("token");
        break;
      case 4:
        logins.rotate("CA");
        break;
      default:
        await scene.damage();
    }
  }
}

/** Prints what was seen, and holds it against the bars. */
async function judge({ agents, watch, book, world, damaged, descriptors }: Scene, seconds: number, load: Load) {
  await agents.sample();
  const { pid } = agents.current;
  const unexplained = load.failures.filter(
    ([from, to]) => !damaged.some(([begun, mended]) => to >= begun && from <= mended),
  );
  console.log(
    `seed ${SEED}: ${world.writes} writes, ${agents.all.length} agents, ${damaged.length} damages, ${watch.looks} looks at the maps, ` +
      `${load.calls} calls, of which ${load.failures.length} failed in damaged maps, longest stall ${agents.longestStallMs.toFixed(0)} ms, ` +
      `${memory(pid).now.toFixed(0)} MiB`,
  );
  expect([...book.wrong, ...watch.wrong]).toEqual([]);
  expect(agents.deserters.map((agent) => agent.tail())).toEqual([]);
  figure({ row: 5, what: `chaos: failed calls of ${load.calls}`, seen: unexplained.length, bar: 0 });
  figure({ row: 5, what: "chaos: recovered after", seen: seconds, bar: RECOVERED_MS / 1_000, unit: "s" });
  if (RESTORES === "none") figure({ row: 7, what: "chaos: missed events", seen: agents.missed, bar: 0 });
  const gained = () => fds(pid) - descriptors;
  await eventually("connections are let go", () => gained() <= DESCRIPTORS || undefined).catch(() => undefined);
  figure({ row: 24, what: "chaos: descriptors gained", seen: gained(), bar: DESCRIPTORS });
}

test(`${SECONDS} s of everything, seed ${SEED}`, { timeout: (SECONDS + 600) * 1_000 }, async () => {
  const scene = await Scene.open();
  const load = await faults.load([process.execPath, "-e", LOAD, STEADY, "80"]);
  const over = new AbortController();
  const troubled = trouble(scene, over.signal).then(
    () => null,
    (error: unknown) => error,
  );
  let seconds = 0;
  try {
    await scene.live(SECONDS * 1_000);
    scene.weather.calm();
    over.abort();
    expect(await troubled).toBe(null);
    seconds = (await scene.recover()) / 1_000;
  } finally {
    over.abort();
    load.end();
    await troubled;
  }
  await judge(scene, seconds, JSON.parse(await load.output) as Load);
});
