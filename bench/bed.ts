// SPDX-License-Identifier: Apache-2.0
// Where the benchmarks run: network namespaces as nodes with one pod each, a namespace that answers for every endpoint,
// cgroups below one of our own, a bpffs and a scratch folder. Everything is named by our pid and removed by close().

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command, Daemon, type Place } from "../test/support/daemon.ts";

const PREFIX = "ptbench";

/** Endpoints live here; the server namespace answers for every one of them. */
const ENDPOINT_RANGE = "10.128.0.0/12";
/** Pods and endpoints: what kube-proxy is told the cluster is. */
export const CLUSTER_CIDR = "10.128.0.0/9";
/** Of every endpoint. The server echoes TCP on the second. */
export const ENDPOINT_PORT = 8080;
export const ECHO_PORT = 8081;
const SERVER_CPU = 1;
export const CLIENT_CPU = 0;

/** A node's namespace and that of the pod on it. */
export interface BenchNode {
  readonly netns: string;
  readonly pod: string;
  /** The node's own address. */
  readonly address: string;
}

function cgroupMount(): string {
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const fields = line.split(" ");
    if (fields[fields.indexOf("-") + 1] === "cgroup2") return fields[4] ?? "";
  }
  throw new Error("no cgroup2 mount");
}

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Names of ours among `names` whose process has ended without cleaning up. */
const abandoned = (names: readonly string[]): string[] =>
  names.filter((name) => {
    const pid = new RegExp(`^${PREFIX}-(\\d+)`).exec(name)?.[1];
    return pid !== undefined && Number(pid) !== process.pid && !alive(Number(pid));
  });

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** Removes a cgroup and those below it; whoever is still inside keeps it. */
function removeCgroup(dir: string): void {
  // A run in another PID namespace may have taken it for abandoned.
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(dir, entry.name));
  }
  rmdirSync(dir);
}

const mac = (node: number, end: number): string => `02:00:00:00:${node.toString(16).padStart(2, "0")}:0${end}`;

// Input of ip -batch for node k, the server's end of it, and its pod.

const nodeSetUp = (k: number, server: string, pod: string): string => `
  link set lo up
  link add eth0 address ${mac(k, 1)} type veth peer name n${k} address ${mac(k, 2)} netns ${server}
  addr add 172.20.${k}.1/24 dev eth0
  link set eth0 up
  link add pod0 address ${mac(k, 3)} type veth peer name eth0 address ${mac(k, 4)} netns ${pod}
  addr add 10.200.${k}.1/24 dev pod0
  link set pod0 up
  neigh replace 172.20.${k}.2 lladdr ${mac(k, 2)} nud permanent dev eth0
  neigh replace 10.200.${k}.2 lladdr ${mac(k, 4)} nud permanent dev pod0
`;

const serverSetUp = (k: number): string => `
  addr add 172.20.${k}.2/24 dev n${k}
  link set n${k} up
  route add 10.200.${k}.0/24 via 172.20.${k}.1
  neigh replace 172.20.${k}.1 lladdr ${mac(k, 1)} nud permanent dev n${k}
`;

const podSetUp = (k: number): string => `
  link set lo up
  addr add 10.200.${k}.2/24 dev eth0
  link set eth0 up
  route add default via 10.200.${k}.1
  neigh replace 10.200.${k}.1 lladdr ${mac(k, 3)} nud permanent dev eth0
`;

export class Bed {
  /** Scratch folder: programs, manifests, logs. */
  readonly dir: string;
  readonly #name = `${PREFIX}-${process.pid}`;
  /** The namespace that answers for the endpoints. */
  readonly server = `${this.#name}-srv`;
  readonly #cgroups = join(cgroupMount(), this.#name);
  readonly #netns: string[] = [];
  readonly #mounts: string[] = [];
  readonly #daemons: Daemon[] = [];
  readonly #last: (() => Promise<void>)[] = [];
  #nodes = 0;
  #closing: Promise<void> | undefined;

  private constructor() {
    this.dir = mkdtempSync(join(tmpdir(), `${this.#name}-`));
    mkdirSync(this.#cgroups);
  }

  /** Makes the bed with its server running, and takes it away again on SIGINT and SIGTERM. */
  static async open(): Promise<Bed> {
    await Bed.#removeAbandoned();
    const bed = new Bed();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, () => void bed.close().finally(() => process.exit(130)));
    }
    try {
      await bed.#startServer();
      return bed;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  static async #removeAbandoned(): Promise<void> {
    for (const name of abandoned(list("/run/netns"))) await command(["ip", "netns", "del", name]);
    for (const name of abandoned(list(tmpdir()))) {
      const dir = join(tmpdir(), name);
      // Not mounted any more if it was killed in the middle of its own cleaning up.
      for (const mount of list(join(dir, "bpffs")))
        await command(["umount", "-l", join(dir, "bpffs", mount)]).catch(() => undefined);
      rmSync(dir, { recursive: true, force: true });
    }
    for (const name of abandoned(list(cgroupMount()))) removeCgroup(join(cgroupMount(), name));
  }

  async #startServer(): Promise<void> {
    await this.#addNetns(this.server);
    const place: Place = { netns: this.server };
    await command(["ip", "-batch", "-"], place, `link set lo up\nroute add local ${ENDPOINT_RANGE} dev lo\n`);
    const program = await this.compile("server");
    const args = [program, SERVER_CPU, ENDPOINT_PORT, ECHO_PORT].map(String);
    const server = this.daemon(args, "server", place);
    await server.until("listens", () => (server.log().includes("ready") ? true : undefined));
  }

  async #addNetns(name: string): Promise<void> {
    await command(["ip", "netns", "add", name]);
    this.#netns.push(name);
  }

  /** Builds bench/NAME.c and gives the program's path. */
  async compile(name: string): Promise<string> {
    const output = join(this.dir, name);
    const source = fileURLToPath(new URL(`${name}.c`, import.meta.url));
    await command(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", output, source]);
    return output;
  }

  /** Starts a program that close() ends; its log is NAME.log in the scratch folder. */
  daemon(argv: readonly string[], name: string, place: Place = {}): Daemon {
    if (this.#closing) throw new Error("the benchmark is ending");
    const daemon = new Daemon(argv, join(this.dir, `${name}.log`), place);
    this.#daemons.push(daemon);
    return daemon;
  }

  /**
   * Makes a node, wired to the server by a veth, and its pod behind it. Neighbours are permanent: no address resolution
   * falls into a measurement.
   */
  async addNode(label: string): Promise<BenchNode> {
    const k = ++this.#nodes;
    const node = { netns: `${this.#name}-${label}`, pod: `${this.#name}-${label}-pod`, address: `172.20.${k}.1` };
    await this.#addNetns(node.netns);
    await this.#addNetns(node.pod);
    const configure = (netns: string, lines: string): Promise<string> =>
      command(["ip", "-batch", "-"], { netns }, lines);
    await configure(node.netns, nodeSetUp(k, this.server, node.pod));
    await configure(this.server, serverSetUp(k));
    await configure(node.pod, podSetUp(k));
    await configure(node.netns, `route add default via 172.20.${k}.2\n`);
    await command(["sysctl", "-qw", "net.ipv4.ip_forward=1"], { netns: node.netns });
    return node;
  }

  /** Makes a cgroup and gives its directory. */
  cgroup(label: string): string {
    const dir = join(this.#cgroups, label);
    mkdirSync(dir);
    return dir;
  }

  /** Mounts a bpffs and gives its directory. */
  async bpffs(label: string): Promise<string> {
    const dir = this.folder(join("bpffs", label));
    await command(["mount", "-t", "bpf", "-o", "mode=0700", "bpffs", dir]);
    this.#mounts.push(dir);
    return dir;
  }

  /** Makes a folder in the scratch folder. */
  folder(name: string): string {
    const dir = join(this.dir, name);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return dir;
  }

  /** Writes a file in the scratch folder and gives its path. */
  write(name: string, content: string): string {
    const file = join(this.dir, name);
    writeFileSync(file, content);
    return file;
  }

  /** Calls `action` first when the bed is removed. */
  atClose(action: () => Promise<void>): void {
    this.#last.push(action);
  }

  /** Removes everything that was made; safe to call twice and after a failure half-way. */
  close(): Promise<void> {
    this.#closing ??= this.#removeAll();
    return this.#closing;
  }

  async #removeAll(): Promise<void> {
    for (const action of this.#last) await action();
    await Promise.all(this.#daemons.map((daemon) => daemon.stop("SIGTERM", 5_000)));
    for (const mount of this.#mounts) await command(["umount", mount]).catch(() => command(["umount", "-l", mount]));
    for (const name of this.#netns) await command(["ip", "netns", "del", name]).catch(() => undefined);
    removeCgroup(this.#cgroups);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
