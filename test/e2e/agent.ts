// SPDX-License-Identifier: Apache-2.0
// The real agent, as a process of the node with the two capabilities it needs, and the command line that asks it.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentReport } from "../../src/agent/report.ts";
import { command, Daemon, type Place } from "../support/daemon.ts";

/** After an outage: longer than the longest wait before another try, and what a slow machine makes of it. */
const PATIENCE_MS = 150_000;

/** The agent's program, as `make` builds it. */
const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

export interface AgentOptions {
  /** Control socket, remembered servers and the log live below it; agents that follow one another share it. */
  readonly dir: string;
  readonly kubeconfig: string;
  readonly cgroup: string;
  readonly bpffs: string;
  readonly place: Place;
  /** A configuration of either kind. */
  readonly config?: object;
}

export class Agent {
  readonly daemon: Daemon;
  readonly #options: AgentOptions;

  constructor(options: AgentOptions) {
    this.#options = options;
    const stateDir = join(options.dir, "state");
    mkdirSync(stateDir, { recursive: true });
    const flags = {
      kubeconfig: options.kubeconfig,
      "hostname-override": "node1",
      cgroup: options.cgroup,
      replacement: "strict",
      "state-dir": stateDir,
      ...this.#where,
    };
    const file = join(options.dir, "config.json");
    if (options.config !== undefined) writeFileSync(file, JSON.stringify(options.config));
    const config = options.config === undefined ? [] : [`--config=${file}`];
    const argv = [portolan, "run", ...config, ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)];
    const place = { ...options.place, capabilities: ["bpf", "net_admin"] };
    this.daemon = new Daemon(argv, join(options.dir, "agent.log"), place);
  }

  get #where() {
    return { bpffs: this.#options.bpffs, "run-dir": join(this.#options.dir, "run") };
  }

  /** A command of the CLI that answers in JSON, asked of this agent (or, if it is dead, of the pinned maps). */
  async ask<T>(...args: string[]): Promise<T> {
    const where = Object.entries(this.#where).map(([flag, value]) => `--${flag}=${value}`);
    return JSON.parse(await command([portolan, ...args, ...where, "--output=json"], this.#options.place)) as T;
  }

  /** What the living agent says of itself; undefined while this one does not answer. */
  async report(): Promise<AgentReport | undefined> {
    const { agent } = await this.ask<{ agent: AgentReport | null }>("status");
    return agent?.pid === this.daemon.pid ? agent : undefined;
  }

  /** Waits until everything the API server has is programmed. */
  async inSync(): Promise<AgentReport> {
    const synced = async () => {
      const report = await this.report().catch(() => undefined);
      return report?.synced ? report : undefined;
    };
    return await this.daemon.until("in sync", synced, PATIENCE_MS);
  }

  /** Waits until it says, when asked, that this API server is away. */
  async saysIsAway(server: string): Promise<void> {
    await this.daemon.until(`says that ${server} is away`, async () => {
      const report = await this.report().catch(() => undefined);
      return report?.source.reason?.includes(server) ? true : undefined;
    });
  }

  /** What a reboot does to a datapath that no agent serves: the pins are gone, the state directory is not. */
  forgetPins(): void {
    rmSync(join(this.#options.bpffs, "portolan"), { recursive: true });
  }

  /** The maps as they are in the kernel, read by bpftool: every element of the hashes, by map. */
  async pinnedMaps(): Promise<Record<string, string[]>> {
    const maps: Record<string, string[]> = {};
    for (const name of ["pt_frontends", "pt_names", "pt_node_addrs"]) {
      const pin = join(this.#options.bpffs, "portolan/v1/maps", name);
      const elements = JSON.parse(await command(["bpftool", "--json", "map", "dump", "pinned", pin])) as object[];
      maps[name] = elements.map((element) => JSON.stringify(element)).sort();
    }
    return maps;
  }
}
