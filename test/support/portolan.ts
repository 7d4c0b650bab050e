// SPDX-License-Identifier: Apache-2.0
// The real agent in a world, as a process of its node with the two capabilities it needs.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { askAgent } from "../../src/agent/control-client.ts";
import type { AgentReport } from "../../src/agent/report.ts";
import { command, Daemon } from "./daemon.ts";
import type { World } from "./world.ts";

/** The agent's program, as `make` builds it. */
const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

export class Portolan {
  /** Goes with the world. */
  readonly dir = mkdtempSync(join(tmpdir(), "portolan-world-"));
  readonly bpffs = join(this.dir, "bpf");
  readonly #world: World;
  #daemon: Daemon | undefined;

  private constructor(world: World) {
    this.#world = world;
  }

  /** Makes a bpffs and folders; all of it, and what is started, goes with the world. */
  static async create(world: World): Promise<Portolan> {
    const made = new Portolan(world);
    world.atEnd(async () => rmSync(made.dir, { recursive: true, force: true }));
    for (const folder of [made.bpffs, join(made.dir, "state")]) mkdirSync(folder);
    await command(["mount", "-t", "bpf", "-o", "mode=0700", world.netns, made.bpffs]);
    world.atEnd(() => command(["umount", made.bpffs]));
    world.atEnd(() => made.kill());
    return made;
  }

  /** Starts an agent with this configuration of any kind it knows, in the place of the one before; returns in sync. */
  async start(configuration: object): Promise<void> {
    await this.#daemon?.stop();
    const file = join(this.dir, "config.json");
    writeFileSync(file, JSON.stringify(configuration));
    const folders = { "run-dir": "run", "state-dir": "state", bpffs: "bpf" };
    const where = Object.entries(folders).map(([flag, folder]) => `--${flag}=${join(this.dir, folder)}`);
    const argv = [portolan, "run", `--config=${file}`, `--cgroup=${this.#world.cgroup}`, ...where];
    const place = { ...this.#world.place, capabilities: ["bpf", "net_admin"] };
    const daemon = new Daemon(argv, join(this.dir, "agent.log"), place);
    this.#daemon = daemon;
    await daemon.until("in sync", async () => ((await this.report())?.synced ? true : undefined));
  }

  /** Ends the agent at once; what it pinned stays. */
  async kill(): Promise<void> {
    await this.#daemon?.stop("SIGKILL");
  }

  /** What the living agent says of itself; null while it does not answer. */
  async report(): Promise<AgentReport | null> {
    const report = await askAgent<AgentReport>(join(this.dir, "run"), "/v1/status").catch(() => null);
    return report?.pid === this.#daemon?.pid ? report : null;
  }

  /** How it is, for the message of a test that failed. */
  async describe(): Promise<string> {
    const exit = this.#daemon?.exit;
    const state = exit ? `ended: ${JSON.stringify(exit)}` : JSON.stringify(await this.report());
    return `portolan ${state}\n${this.#daemon?.tail() ?? ""}`;
  }
}
