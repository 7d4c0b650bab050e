// SPDX-License-Identifier: Apache-2.0
// The real agent, as a node would run it: bin/portolan under CAP_BPF and CAP_NET_ADMIN alone, with a cgroup, a bpffs and
// folders of its own.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command, type Daemon } from "../test/support/daemon.ts";
import { NODE } from "./api-server.ts";
import type { Bed, BenchNode } from "./bed.ts";

const program = fileURLToPath(new URL("../bin/portolan", import.meta.url));
const bundle = fileURLToPath(new URL("../dist/portolan.mjs", import.meta.url));
const CAPABILITIES = ["bpf", "net_admin"] as const;
const SYNC_TIMEOUT_MS = 120_000;

export interface AgentPlace {
  readonly label: string;
  readonly node: BenchNode | null;
  readonly cgroup: string;
}

/** Some benchmarks run beside the machine's own services: no port of theirs is taken. */
const CONFIGURATION = {
  apiVersion: "portolan.io/v1alpha1",
  kind: "PortolanConfiguration",
  healthzBindAddress: "none",
  metricsBindAddress: "127.0.0.1:0",
};

/** Where an agent keeps what: stays the same over its restarts. */
export class AgentHome {
  readonly cgroup: string;
  /** The folder of its pinned maps. */
  readonly maps: string;
  readonly #bed: Bed;
  readonly #place: AgentPlace;
  readonly #flags: readonly string[];
  readonly #stateDir: string;
  readonly #config: string;
  #starts = 0;

  private constructor(bed: Bed, place: AgentPlace, bpffs: string) {
    const dir = bed.folder(`agent-${place.label}`);
    this.#bed = bed;
    this.#place = place;
    this.cgroup = place.cgroup;
    this.maps = join(bpffs, "portolan", "v1", "maps");
    this.#flags = [`--bpffs=${bpffs}`, `--run-dir=${join(dir, "run")}`];
    this.#stateDir = join(dir, "state");
    this.#config = bed.write(`agent-${place.label}.json`, JSON.stringify(CONFIGURATION));
  }

  static async make(bed: Bed, place: AgentPlace): Promise<AgentHome> {
    if (!existsSync(bundle)) throw new Error("portolan is not built yet: run make first");
    return new AgentHome(bed, place, await bed.bpffs(place.label));
  }

  /** Starts the agent; `source` are its flags that say where Services come from. */
  start(source: readonly string[]): Daemon {
    const args = [
      `--config=${this.#config}`,
      `--cgroup=${this.cgroup}`,
      `--state-dir=${this.#stateDir}`,
      `--hostname-override=${NODE}`,
      ...source,
    ];
    const name = `agent-${this.#place.label}-${++this.#starts}`;
    const netns = this.#place.node ? { netns: this.#place.node.netns } : {};
    return this.#bed.daemon([program, "run", ...this.#flags, ...args], name, { capabilities: CAPABILITIES, ...netns });
  }

  /** `portolan status -o json`, parsed. */
  async status(): Promise<Record<string, unknown>> {
    return JSON.parse(await command([program, "status", "-o", "json", ...this.#flags])) as Record<string, unknown>;
  }
}

/** What the agent says when it is in sync, from its log. */
export interface SyncLine {
  readonly [field: string]: unknown;
}

/** Waits for the line that says that everything is programmed. */
export function inSync(agent: Daemon): Promise<SyncLine> {
  return agent.until("in sync", () => findSyncLine(agent.log()), SYNC_TIMEOUT_MS);
}

function findSyncLine(log: string): SyncLine | undefined {
  for (const line of log.split("\n")) {
    if (!line.startsWith("{") || !line.includes("in sync")) continue;
    const fields = JSON.parse(line) as SyncLine;
    if (fields["msg"] === "in sync") return fields;
  }
  return undefined;
}
