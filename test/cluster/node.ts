// SPDX-License-Identifier: Apache-2.0
// A node of the test cluster: namespaces, cgroups and a root of its own on a shared switch; commands and daemons on it.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command, Daemon } from "../support/daemon.ts";
import { addNetns, type Bed, gateway, ip } from "./bed.ts";

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface NodeOptions {
  /** 1, 2, … */
  readonly index: number;
  /** Folder that the node sees as /opt/kube: Kubernetes, containerd, CNI plugins. */
  readonly programs: string;
  /** Folder that the node sees as /opt: portolan, images, pod programs; has an empty `kube` in it. */
  readonly opt: string;
}

export class ClusterNode {
  readonly name: string;
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Its files: `etc` and `var` are what the node sees. */
  readonly folder: string;
  readonly #logs: string;
  readonly #init: number;

  private constructor(bed: Bed, index: number, init: number) {
    this.name = `node${index}`;
    this.netns = `${bed.name}-${this.name}`;
    this.ipv4 = `172.31.0.${index}`;
    this.ipv6 = `fd00:31::${index}`;
    this.folder = join(bed.folder, this.name);
    this.#logs = bed.logs;
    this.#init = init;
  }

  /** Returns when commands can be run on it. */
  static async start(bed: Bed, options: NodeOptions): Promise<ClusterNode> {
    const plan = new ClusterNode(bed, options.index, 0);
    const { folder, netns, name } = plan;
    plan.#writeFiles(bed);
    await plan.#makeNetwork(bed);
    const argv = ["sh", script("node.sh"), folder, netns, options.programs, options.opt];
    const root = new Daemon(argv, join(plan.#logs, `${name}-root.log`));
    await root.until("has a root", () => (root.log().endsWith("ready\n") ? true : undefined), 180_000);
    bed.setApart(root.pid);
    const children = readFileSync(`/proc/${root.pid}/task/${root.pid}/children`, "utf8").trim();
    return new ClusterNode(bed, options.index, Number(children));
  }

  /** Runs a command on the node; gives standard output, a failure is a CommandError. */
  run(argv: readonly string[], input = "", timeoutMs = 180_000): Promise<string> {
    return command([...this.#enter, ...argv], {}, input, timeoutMs);
  }

  /** Starts a program that stays, its output in the log NODE-NAME.log. */
  start(name: string, argv: readonly string[]): Daemon {
    const keepPid = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', pidFile(name)];
    return new Daemon([...this.#enter, ...keepPid, ...argv], join(this.#logs, `${this.name}-${name}.log`));
  }

  /** Sends a signal to the program that was last started under that name. */
  async kill(name: string, signal: "KILL" | "TERM"): Promise<void> {
    await this.run(["sh", "-c", 'kill -"$1" "$(cat "$0")"', pidFile(name), signal]);
  }

  /** Puts a file, and the folders it needs, anywhere on the node. */
  async writeFile(path: string, text: string): Promise<void> {
    await this.run(["sh", "-c", 'umask 077 && mkdir -p "$(dirname "$0")" && cat >"$0"', path], text);
  }

  /** Puts a file into the node's /etc. */
  writeEtc(path: string, text: string): void {
    const file = join(this.folder, "etc", path);
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
  }

  get #enter(): string[] {
    return ["sh", script("enter.sh"), this.folder, String(this.#init)];
  }

  #writeFiles(bed: Bed): void {
    this.writeEtc("hostname", `${this.name}\n`);
    this.writeEtc("hosts", `127.0.0.1 localhost\n::1 localhost\n${this.ipv4} ${this.name}\n`);
    this.writeEtc("resolv.conf", `nameserver ${gateway.ipv4}\n`);
    this.writeEtc("machine-id", `${this.ipv4.replaceAll(".", "").padStart(32, "0")}\n`);
    const mounts = bed.hierarchies.map(({ type, options, mountPoint }) => `${type} ${options} ${mountPoint}\n`);
    writeFileSync(join(this.folder, "hierarchies"), mounts.join(""));
    writeFileSync(
      join(this.folder, "cgroups"),
      bed
        .makeCgroups(this.name)
        .map((cgroup) => `${cgroup}\n`)
        .join(""),
    );
  }

  async #makeNetwork(bed: Bed): Promise<void> {
    await addNetns(this.netns);
    await command(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], { netns: this.netns });
    await ip(this.netns, [
      "link set lo up",
      `link add eth0 type veth peer name ${this.name} netns ${bed.switch}`,
      `addr add ${this.ipv4}/24 dev eth0`,
      `addr add ${this.ipv6}/64 dev eth0`,
      "link set eth0 up",
      `route add default via ${gateway.ipv4}`,
      `route add ::/0 via ${gateway.ipv6}`,
    ]);
    await ip(bed.switch, [`link set ${this.name} master br0 up`]);
  }
}

const pidFile = (name: string): string => `/run/${name}.pid`;
