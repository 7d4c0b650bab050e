// SPDX-License-Identifier: Apache-2.0
// A place for the real program: a network namespace, a cgroup, a bpffs and folders of its own, and manifests in one of them.

import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { queryCgroup, sys } from "libbpf-ts";
import { findCgroup } from "../../src/node/cgroup.ts";
import { command, Daemon, type Place, placed } from "../support/daemon.ts";

export const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is. */
export function outcome(argv: readonly string[], place: Place = {}, env: Record<string, string> = {}): Promise<Result> {
  const [file, ...args] = placed(argv, place);
  return new Promise((resolve) => {
    execFile(file, args, { timeout: 150_000, env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** Of both families. */
const HOOKS = [
  "cgroup_inet_connect",
  "cgroup_udp_sendmsg",
  "cgroup_udp_recvmsg",
  "cgroup_inet_getpeername",
  "cgroup_inet_post_bind",
];

let beds = 0;

export class Bed {
  readonly dir = mkdtempSync(join(tmpdir(), "portolan-cli-"));
  readonly bpffs = join(this.dir, "bpf");
  readonly runDir = join(this.dir, "run");
  readonly stateDir = join(this.dir, "state");
  readonly manifests = join(this.dir, "manifests");
  readonly netns = `portolan-cli-${process.pid}-${++beds}`;
  readonly cgroup = join(findCgroup()?.dir ?? "", this.netns);
  readonly #daemons: Daemon[] = [];
  #logs = 0;
  #mounted = false;

  /** The node has 10.77.0.1 and fd00:77::1 on a device of its own. */
  static async create(): Promise<Bed> {
    const bed = new Bed();
    try {
      await bed.#make();
      return bed;
    } catch (error) {
      await bed.remove();
      throw error;
    }
  }

  async #make(): Promise<void> {
    mkdirSync(this.cgroup);
    mkdirSync(this.manifests);
    mkdirSync(this.bpffs);
    sys.mount(this.netns, this.bpffs, "bpf", 0, "mode=0700");
    this.#mounted = true;
    await command(["ip", "netns", "add", this.netns]);
    await command(
      ["ip", "-batch", "-"],
      this.host,
      `
      link set lo up
      link add node0 type bridge forward_delay 0
      addr add 10.77.0.1/24 dev node0
      addr add fd00:77::1/64 dev node0 nodad
      link set node0 up
    `,
    );
  }

  /** The node's namespace, outside the cgroup that is served. */
  get host(): Place {
    return { netns: this.netns };
  }

  /** A process of the node that is served. */
  get served(): Place {
    return { netns: this.netns, cgroup: this.cgroup };
  }

  get pins(): string {
    return join(this.bpffs, "portolan", "v1");
  }

  /** Where a command finds this bed's agent and pins. */
  get where(): string[] {
    return [`--bpffs=${this.bpffs}`, `--run-dir=${this.runDir}`];
  }

  get runFlags(): string[] {
    const flags = [`--source=dir:${this.manifests}`, `--cgroup=${this.cgroup}`, `--state-dir=${this.stateDir}`];
    return [...flags, "--hostname-override=node1", ...this.where];
  }

  /** Starts an agent; it may end by itself. `program` may be its other name. */
  run(flags: readonly string[] = [], place: Place = this.host, program: readonly string[] = [portolan, "run"]): Daemon {
    const daemon = new Daemon(
      [...program, ...this.runFlags, ...flags],
      join(this.dir, `agent-${++this.#logs}.log`),
      place,
    );
    this.#daemons.push(daemon);
    return daemon;
  }

  /** Starts an agent and waits until it is in sync; gives that line of its log too. */
  async synced(
    flags: readonly string[] = [],
    place: Place = this.host,
  ): Promise<{ agent: Daemon; line: Record<string, unknown> }> {
    const agent = this.run(flags, place);
    const inSync = () => logLines(agent).find(({ msg }) => msg === "in sync");
    // Ten thousand Services on a busy machine take their time.
    const line = await agent.until("in sync", inSync, 120_000);
    return { agent, line };
  }

  /** A command about this bed's agent. */
  cli(name: string, ...args: string[]): Promise<Result> {
    return outcome([portolan, name, ...this.where, ...args], this.host);
  }

  async json<T>(name: string, ...args: string[]): Promise<T> {
    const { stdout } = await this.cli(name, ...args, "-o", "json");
    return JSON.parse(stdout) as T;
  }

  /** Ids of the programs on every hook of the cgroup, ascending. */
  attached(): number[] {
    const families = HOOKS.flatMap((hook) => [
      hook.replace("inet", "inet4").replace("udp", "udp4"),
      hook.replace("inet", "inet6").replace("udp", "udp6"),
    ]);
    const hooks = [...families, "cgroup_inet_sock_release"];
    return hooks.flatMap((hook) => queryCgroup(this.cgroup, hook).programIds).sort((a, b) => a - b);
  }

  /** Starts another program of the node. */
  async daemon(argv: readonly string[], place: Place = this.host): Promise<Daemon> {
    const daemon = new Daemon(argv, join(this.dir, `other-${++this.#logs}.log`), place);
    this.#daemons.push(daemon);
    return await daemon.until("ready", () => (daemon.log().includes("ready") ? daemon : undefined));
  }

  /** Runs a script that becomes what looks like a kube-proxy, and waits until it has. */
  async kubeProxy(argv: readonly string[], place: Place = this.host): Promise<Daemon> {
    const daemon = await this.daemon(argv, place);
    const name = () => basename(readFileSync(`/proc/${daemon.pid}/cmdline`, "utf8").split("\0")[0] ?? "");
    return await daemon.until("looks like kube-proxy", () => (name() === "kube-proxy" ? daemon : undefined));
  }

  /** Writes a manifest whole. */
  manifest(name: string, ...objects: object[]): void {
    const file = join(this.manifests, name);
    writeFileSync(`${file}.new`, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
    renameSync(`${file}.new`, file);
  }

  async remove(): Promise<void> {
    for (const daemon of this.#daemons.toReversed()) await daemon.stop("SIGKILL");
    if (this.#mounted) sys.umount(this.bpffs);
    if (existsSync(`/run/netns/${this.netns}`)) await command(["ip", "netns", "del", this.netns]);
    await removeCgroup(this.cgroup);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A cgroup is busy for a moment after its last process has gone. */
export async function removeCgroup(dir: string): Promise<void> {
  for (let attempt = 0; existsSync(dir) && attempt < 400; attempt++) {
    try {
      rmdirSync(dir);
    } catch {
      await sleep(50);
    }
  }
}

export function logLines(daemon: Daemon): Record<string, unknown>[] {
  return daemon
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

export interface ServiceSpec {
  readonly clusterIp?: string;
  readonly port?: number;
  readonly nodePort?: number;
}

export function service(name: string, { clusterIp = "10.96.0.80", port = 80, nodePort = 0 }: ServiceSpec = {}): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      type: nodePort === 0 ? "ClusterIP" : "NodePort",
      clusterIP: clusterIp,
      clusterIPs: [clusterIp],
      ports: [{ protocol: "TCP", port, ...(nodePort === 0 ? {} : { nodePort }) }],
    },
  };
}

/** One endpoint a port, all at the node's own address. */
export function slice(name: string, ports: readonly number[], address = "10.77.0.1"): object[] {
  return ports.map((port, i) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-${i}`, namespace: "default", labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "", protocol: "TCP", port }],
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
  }));
}

/** For `node -e`: listens on PORT of every address and answers each connection with NAME. */
export const ANSWER = `
const [port, name] = process.argv.slice(1);
require("node:net").createServer((s) => { s.on("error", () => {}); s.end(name); }).listen(Number(port), "::", () => console.log("ready"));
`;

/** For `node -e`: connects to HOST PORT and prints the answer, or the error's code. */
export const CALL = `
const [host, port] = process.argv.slice(1);
const s = require("node:net").connect({ host, port: Number(port) });
s.setTimeout(10000, () => { console.log("ETIMEDOUT"); process.exit(); });
s.on("data", (data) => process.stdout.write(data));
s.on("error", (error) => console.log(error.code));
`;

export async function call(place: Place, host: string, port: number): Promise<string> {
  return (await command([process.execPath, "-e", CALL, host, String(port)], place)).trim();
}
