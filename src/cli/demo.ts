// SPDX-License-Identifier: Apache-2.0
// portolan demo: the whole of it in a few seconds, on a small node of its own: real namespaces, the real agent, real calls.

import { execFile } from "node:child_process";
import { cpSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify, styleText } from "node:util";
import { Refusal } from "../datapath/refusal.ts";
import { BACKEND, CALLER } from "./demo-actors.ts";
import { type Actor, DemoWorld } from "./demo-world.ts";
import { alignColumns } from "./table.ts";
import { type CommandSpec, EXIT } from "./usage.ts";

const PODS = 3;
const CALLS = 200;
const CHANGE_MS = 5_000;

export const demoCommand: CommandSpec = {
  usage: "demo",
  summary: "see portolan work, in namespaces of its own, which are removed at the end",
  details: `
Makes a node and three pods out of network namespaces, with a cgroup and a bpffs of their own; starts backends, the
manifests of examples/demo and the real agent; calls Services, changes an endpoint, kills the agent, shows the maps.
Needs root. The machine's own traffic is not touched.
`,
  flags: [],
  run,
};

interface Call {
  readonly what: string;
  readonly caller: Actor;
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
}

interface Answer {
  readonly answer?: string;
  readonly peer?: string;
  readonly error?: string;
  readonly ms: number;
}

async function run(): Promise<number> {
  if (process.getuid?.() !== 0) throw new Refusal(["the demo makes namespaces and a cgroup: run it as root"]);
  await promisify(execFile)("ip", ["-V"]).catch(() => {
    throw new Refusal(["the demo makes its network with ip: apt-get install iproute2"]);
  });
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  process.stdout.once("error", () => stop.abort()); // nobody watches
  const interrupted = new Promise<"interrupted">((resolve) => {
    stop.signal.addEventListener("abort", () => resolve("interrupted"));
  });
  const world = await DemoWorld.create(PODS);
  try {
    const story = tell(world);
    // Whatever the story does after an interruption fails on what is being removed: nobody is to hear of it.
    story.catch(() => undefined);
    const end = await Promise.race([story, interrupted]);
    if (end === "interrupted") say("\ninterrupted");
    return end === "interrupted" ? EXIT.FAILED : EXIT.OK;
  } finally {
    await world[Symbol.asyncDispose]();
    say(styleText("dim", "\nNamespaces, cgroup, bpffs and folders are removed."));
  }
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const title = (text: string): void => say(`\n${styleText(["bold", "cyan"], `▌ ${text}`)}`);
const note = (text: string): void => say(styleText("dim", `  ${text}`));
const indent = (text: string): string => text.trimEnd().replace(/^/gm, "  ");

async function tell(world: DemoWorld): Promise<"told"> {
  title("A node and three pods, made of network namespaces");
  for (let n = 1; n <= PODS; n++) {
    await world.start([process.execPath, "-e", BACKEND, `pod${n}`], { host: `pod${n}`, served: true });
  }
  note("node 10.88.0.254   pod1 10.88.0.1   pod2 10.88.0.2   pod3 10.88.0.3   and IPv6 beside it");
  const manifests = join(world.dir, "manifests");
  cpSync(examples(), manifests, { recursive: true });
  note("Services: web (ClusterIP and NodePort, TCP, both families), names (UDP), empty (no endpoints)");

  title("portolan run --source dir:manifests");
  const agent = await startAgent(world, manifests);
  const caller = await startCaller(world, "node");
  const podCaller = await startCaller(world, "pod3");
  await showCalls(caller, podCaller);
  await showChange(caller, manifests);
  await showDeath(world, agent, caller);
  await showMaps(world);
  title("A new agent takes over what it finds");
  await startAgent(world, manifests);
  note("nothing has changed, so there is nothing to write");
  return "told";
}

/** Beside the bundle in an installed tree, or in the checkout. */
function examples(): string {
  const places = ["./examples/demo", "../examples/demo", "../../examples/demo"];
  const found = places.map((place) => fileURLToPath(new URL(place, import.meta.url))).find((dir) => existsSync(dir));
  if (found === undefined) throw new Error("examples/demo is missing: the installation is incomplete");
  return found;
}

function command(world: DemoWorld, name: string, ...args: string[]): string[] {
  const where = ["--bpffs", world.bpffs, "--run-dir", join(world.dir, "run")];
  return [process.execPath, ...process.execArgv, process.argv[1] ?? "", name, ...args, ...where];
}

async function startAgent(world: DemoWorld, manifests: string): Promise<Actor> {
  const args = ["--source", `dir:${manifests}`, "--cgroup", world.cgroup, "--state-dir", join(world.dir, "state")];
  const argv = command(world, "run", ...args, "--hostname-override", "demo-node");
  let { actor, first: line } = await world.start(argv, { host: "node", served: false });
  for (;;) {
    const { msg, level, ...fields } = JSON.parse(line) as Record<string, unknown>;
    if (msg === "in sync") {
      const { services, units, frontends, endpoints, writes, seconds } = fields;
      note(
        `pid ${actor.pid}, in sync ${Number(seconds) * 1000} ms after its start: ${services} Services, ${units} units, ${frontends} frontends, ${endpoints} endpoints`,
      );
      note(`${writes} writes to the maps`);
      return actor;
    }
    if (level === "warn" || level === "error") note(`${msg}`);
    line = await actor.line();
  }
}

async function startCaller(world: DemoWorld, host: string): Promise<Actor> {
  return (await world.start([process.execPath, "-e", CALLER], { host, served: true })).actor;
}

async function ask({ caller, protocol, host, port }: Omit<Call, "what">): Promise<Answer> {
  caller.say(JSON.stringify({ protocol, host, port }));
  return JSON.parse(await caller.line()) as Answer;
}

async function showCalls(node: Actor, pod: Actor): Promise<void> {
  title("Calls");
  const calls: readonly Call[] = [
    { what: "web by ClusterIP, from the node", caller: node, protocol: "tcp", host: "10.96.0.80", port: 80 },
    { what: "web again", caller: node, protocol: "tcp", host: "10.96.0.80", port: 80 },
    { what: "web by ClusterIP, from pod3", caller: pod, protocol: "tcp", host: "10.96.0.80", port: 80 },
    { what: "web over IPv6, from pod3", caller: pod, protocol: "tcp", host: "fd00:96::80", port: 80 },
    { what: "web by NodePort", caller: node, protocol: "tcp", host: "10.88.0.254", port: 30080 },
    { what: "web by NodePort on loopback", caller: node, protocol: "tcp", host: "127.0.0.1", port: 30080 },
    { what: "names over UDP, from the node", caller: node, protocol: "udp", host: "10.96.0.53", port: 53 },
    { what: "empty: nobody to answer", caller: node, protocol: "tcp", host: "10.96.0.99", port: 80 },
  ];
  const rows = [["CALL", "ANSWERED BY", "THE CALLER SEES AS ITS PEER", "TOOK"]];
  for (const call of calls) {
    const { answer, error, peer, ms } = await ask(call);
    rows.push([call.what, answer ?? error ?? "?", peer ?? "-", `${ms.toFixed(1)} ms`]);
  }
  say(indent(alignColumns(rows)));
}

async function showChange(caller: Actor, manifests: string): Promise<void> {
  title("An endpoint changes: web's pod2 becomes pod3");
  const file = join(manifests, "web-endpoints.yaml");
  const changed = readFileSync(file, "utf8")
    .replaceAll("10.88.0.2", "10.88.0.3")
    .replaceAll("fd00:88::2", "fd00:88::3");
  writeFileSync(`${file}.new`, changed);
  const started = performance.now();
  renameSync(`${file}.new`, file);
  let answer: string | undefined;
  while (answer !== "pod3" && performance.now() - started < CHANGE_MS) {
    ({ answer } = await ask({ caller, protocol: "tcp", host: "10.96.0.80", port: 80 }));
  }
  if (answer !== "pod3") throw new Error(`pod3 did not answer within ${CHANGE_MS} ms of the change`);
  note(`pod3 answered ${(performance.now() - started).toFixed(0)} ms after the manifest was replaced`);
  note(`then, in ${CALLS} calls: ${await tally(caller)}`);
}

/** "pod1 97, pod3 103" */
async function tally(caller: Actor): Promise<string> {
  const counts = new Map<string, number>();
  for (let i = 0; i < CALLS; i++) {
    const { answer, error } = await ask({ caller, protocol: "tcp", host: "10.96.0.80", port: 80 });
    const who = answer ?? `failed (${error})`;
    counts.set(who, (counts.get(who) ?? 0) + 1);
  }
  return [...counts]
    .sort()
    .map(([who, count]) => `${who} ${count}`)
    .join(", ");
}

async function showDeath(world: DemoWorld, agent: Actor, caller: Actor): Promise<void> {
  title(`kill -9 ${agent.pid}: the agent is dead`);
  await agent.end("SIGKILL");
  note(`${CALLS} calls without it: ${await tally(caller)}`);
  const [program = "", ...args] = command(world, "get", "services");
  const { stdout } = await promisify(execFile)(program, args);
  note("portolan get services, from the pinned maps:");
  say(indent(stdout));
}

async function showMaps(world: DemoWorld): Promise<void> {
  title("The maps in the kernel: portolan dump frontends");
  const [program = "", ...args] = command(world, "dump", "frontends");
  const dumped = await promisify(execFile)(program, args);
  say(indent(dumped.stdout));
  const file = join(world.bpffs, "portolan", "v1", "maps", "pt_frontends");
  const shown = await promisify(execFile)("bpftool", ["map", "dump", "pinned", file]).catch(() => null);
  if (shown === null) return;
  title("and one row as bpftool map dump pinned …/portolan/v1/maps/pt_frontends prints it");
  const rows = shown.stdout.split(/^ {4}\},\{$/m);
  const row = rows.find((text) => text.includes("10,96,0,80") && text.includes('"port": 80')) ?? "";
  say(indent(row.replace(/^\[?\{?\n/, "").replace(/\n {4}\}\n\]\s*$/, "\n")));
}
