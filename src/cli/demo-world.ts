// SPDX-License-Identifier: Apache-2.0
// The demo's own small node: network namespaces, a cgroup, a bpffs, temporary folders and child processes, all named after
// this process, all gone when it is disposed of.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { sys } from "libbpf-ts";
import { findCgroup } from "../node/cgroup.ts";

const run = promisify(execFile);
const START_MS = 15_000;

/** How a process of the demo runs. */
export interface Place {
  /** "node", "pod1", … */
  readonly host: string;
  /** Below the cgroup that the programs serve. */
  readonly served: boolean;
}

/** A child that talks by lines. */
export class Actor {
  readonly pid: number;
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #waiting: ((line: string | null) => void)[] = [];
  readonly #heard: string[] = [];
  #errors = "";

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? -1;
    this.#lines = createInterface({ input: child.stdout ?? process.stdin });
    this.#lines.on("line", (line) => {
      const waiting = this.#waiting.shift();
      if (waiting) waiting(line);
      else this.#heard.push(line);
    });
    child.stderr?.on("data", (data: Buffer) => {
      this.#errors += data.toString();
    });
    child.stdin?.on("error", () => undefined);
    this.exited = new Promise((resolve) => {
      const ended = (): void => {
        for (const waiting of this.#waiting.splice(0)) waiting(null);
        resolve();
      };
      child.once("exit", ended);
      child.once("error", ended);
    });
  }

  /** The next line it prints. Throws if it ends or stays silent for too long. */
  async line(): Promise<string> {
    const heard = this.#heard.shift();
    if (heard !== undefined) return heard;
    const next = new Promise<string | null>((resolve) => this.#waiting.push(resolve));
    const cancel = new AbortController();
    const late = sleep(START_MS, null, { signal: cancel.signal, ref: false }).catch(() => null);
    const ended = this.#child.exitCode !== null || this.#child.signalCode !== null;
    const line = ended ? null : await Promise.race([next, late]);
    cancel.abort();
    if (line === null)
      throw new Error(`a process of the demo ended or fell silent: ${this.#errors.trim() || "it said nothing"}`);
    return line;
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.exited;
  }
}

export class DemoWorld implements AsyncDisposable {
  readonly dir: string;
  readonly bpffs: string;
  readonly cgroup: string;
  readonly #name = `portolan-demo-${process.pid}`;
  readonly #actors: Actor[] = [];
  readonly #netns: string[] = [];
  #mounted = false;

  private constructor() {
    const choice = findCgroup();
    if (choice === null) throw new Error("no cgroup v2 is mounted");
    this.dir = mkdtempSync(join(tmpdir(), "portolan-demo-"));
    this.bpffs = join(this.dir, "bpf");
    this.cgroup = join(choice.dir, this.#name);
  }

  /** Makes the node and pods `pod1` … `podN` on its bridge: 10.88.0.N and fd00:88::N, the node has .254 and ::fe. */
  static async create(pods: number): Promise<DemoWorld> {
    const world = new DemoWorld();
    try {
      await world.#make(pods);
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #make(pods: number): Promise<void> {
    mkdirSync(this.cgroup);
    mkdirSync(this.bpffs);
    sys.mount(this.#name, this.bpffs, "bpf", 0, "mode=0700");
    this.#mounted = true;
    await this.#addNetns("node");
    await this.#ip("node", [
      "link add cni0 type bridge forward_delay 0",
      "addr add 10.88.0.254/24 dev cni0",
      "addr add fd00:88::fe/64 dev cni0 nodad",
      "link set cni0 up",
    ]);
    for (let n = 1; n <= pods; n++) {
      const pod = `pod${n}`;
      await this.#addNetns(pod);
      await this.#ip("node", [
        `link add veth${n} type veth peer name eth0 netns ${this.netns(pod)}`,
        `link set veth${n} master cni0 up`,
      ]);
      await this.#ip(pod, [
        `addr add 10.88.0.${n}/24 dev eth0`,
        `addr add fd00:88::${n}/64 dev eth0 nodad`,
        "link set eth0 up",
        "route add default via 10.88.0.254",
        "route add ::/0 via fd00:88::fe",
      ]);
    }
  }

  netns(host: string): string {
    return `${this.#name}-${host}`;
  }

  async #addNetns(host: string): Promise<void> {
    await run("ip", ["netns", "add", this.netns(host)]);
    this.#netns.push(this.netns(host));
    await this.#ip(host, ["link set lo up"]);
  }

  async #ip(host: string, commands: readonly string[]): Promise<void> {
    for (const command of commands) await run("ip", ["-n", this.netns(host), ...command.split(" ")]);
  }

  /** Starts a program and waits for its first line. */
  async start(argv: readonly string[], place: Place): Promise<{ actor: Actor; first: string }> {
    // nsenter and not "ip netns exec", which hides /sys and with it the cgroup mount.
    const inside = ["nsenter", `--net=/run/netns/${this.netns(place.host)}`, "--", ...argv];
    const joined = place.served
      ? ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', this.cgroup, ...inside]
      : inside;
    const [program = "", ...args] = joined;
    const actor = new Actor(spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] }));
    this.#actors.push(actor);
    return { actor, first: await actor.line() };
  }

  /** Ends every process and removes everything; goes on where something is gone already. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const actor of this.#actors.toReversed()) await actor.end("SIGKILL");
    // The pins go with their file system: the last reference detaches the programs.
    if (this.#mounted) await this.#attempt(() => sys.umount(this.bpffs));
    for (const netns of this.#netns) await this.#attempt(() => run("ip", ["netns", "del", netns]));
    await this.#removeCgroup();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Busy for a moment after its last process has gone. */
  async #removeCgroup(): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        rmdirSync(this.cgroup);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
        await sleep(50);
      }
    }
    process.stderr.write(`portolan: ${this.cgroup} could not be removed\n`);
  }

  async #attempt(step: () => unknown): Promise<void> {
    try {
      await step();
    } catch (error) {
      process.stderr.write(`portolan: ${(error as Error).message.trim()}\n`);
    }
  }
}
