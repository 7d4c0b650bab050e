// SPDX-License-Identifier: Apache-2.0
// The datapath as one agent has it in hand: lock, programs, maps and what they hold. A start that fails takes away what
// it made; what was there before goes on serving.

import { BpfError } from "libbpf-ts";
import type { Logger } from "pino";
import type { Config } from "../config/schema.ts";
import { Maps } from "../datapath/maps.ts";
import { socketObject } from "../datapath/object-file.ts";
import { PinDirectory } from "../datapath/pins.ts";
import { Programs } from "../datapath/programs.ts";
import { Refusal } from "../datapath/refusal.ts";
import { readStats } from "../datapath/stats.ts";
import { ownNetnsCookie } from "../node/kernel.ts";
import type { BindGuard } from "../program/frontend-table.ts";
import { Programmer } from "../program/programmer.ts";
import { type Answers, ControlServer } from "./control.ts";
import type { DeadPeers } from "./dead-peers/dead-peers.ts";
import { openDeadPeers } from "./dead-peers/open.ts";
import { answersOnLoopback } from "./own-node/device-addresses.ts";

export interface InstallationOptions {
  readonly config: Config;
  readonly cgroup: string;
  readonly recreateMaps: boolean;
  readonly bindGuard: BindGuard;
  readonly answers: Answers;
  readonly log: Logger;
}

export interface Installation {
  readonly programs: Programs;
  readonly programmer: Programmer;
  readonly deadPeers: DeadPeers;
  /** What the programs did so far, by reason. */
  verdicts(): ReadonlyMap<string, bigint>;
  /** Closes everything; programs, links and maps stay pinned. */
  close(): Promise<void>;
}

/** Throws Refusal, AgentRunning or BpfError, having undone what it made. */
export async function install(options: InstallationOptions): Promise<Installation> {
  await using made = new AsyncDisposableStack();
  const { config, log } = options;
  const control = await ControlServer.open(config.runDir, options.answers);
  made.defer(() => control.close());
  const pins = made.use(new PinDirectory(config.bpffs));
  made.defer(() => pins.undo());
  const programs = made.use(load(options, pins));
  made.defer(() => programs.undo());
  const maps = made.use(Maps.ofObject(programs.object));
  const programmer = await Programmer.start(maps, {
    bindGuard: options.bindGuard,
    onRetry: ({ added, changed, refused }) => log.info({ added, changed, refused: refused.length }, "retried"),
    onServing: (changes) => deadPeers.changed(changes),
  });
  const { ownerOf } = programmer;
  const dead = made.use(openDeadPeers({ ...options, programs, ownerOf, backend: (id) => maps.backend(id) }));
  const { deadPeers } = dead;
  if (programs.replaced === null) programs.activate();
  else
    log.warn({ reason: programs.replaced }, "maps are new: those in use go on serving until the new ones are filled");
  const btf = made.use(programs.object.btf());
  made.move();
  return {
    programs,
    programmer,
    deadPeers,
    verdicts: () => readStats(programs.object.map("pt_stats"), btf),
    async close() {
      await control.close();
      await dead[Symbol.asyncDispose]();
      btf.close();
      maps.close();
      programs[Symbol.dispose]();
      pins[Symbol.dispose]();
    },
  };
}

function load({ config, cgroup, recreateMaps }: InstallationOptions, pins: PinDirectory): Programs {
  try {
    return new Programs({
      objectFile: socketObject(),
      sizes: mapEntries(config),
      constants: {
        host_netns_cookie: ownNetnsCookie(),
        sockets_mask: config.mapSizes.sockets - 1,
        localhost_node_ports: config.localhostNodePorts && answersOnLoopback(config),
        bind_guard: config.bindGuard,
      },
      pins,
      cgroup,
      recreateMaps,
    });
  } catch (error) {
    if (!(error instanceof BpfError) || error.log === null) throw error;
    if (error.code === "ENOMEM")
      throw new Refusal(["maps: the kernel has no memory for maps of these sizes: lower mapSizes"]);
    const log = error.log.trimEnd().split("\n").slice(-5).join("\n    ");
    throw new Refusal([`programs: the kernel's verifier does not accept them: ${error.message}\n    ${log}`]);
  }
}

/** max_entries by map, of the sizes a configuration names. */
function mapEntries({ mapSizes: size }: Config): Readonly<Record<string, number>> {
  return {
    pt_frontends: size.frontends,
    pt_services: size.units,
    pt_names: size.units,
    pt_slots: size.slots / 1024,
    pt_backends: size.backends,
    pt_active: size.backends,
    pt_sockets: size.sockets,
    pt_affinity: size.affinity,
    pt_udp_peers: size.udpPeers,
    pt_src_ranges: size.sourceRanges,
  };
}
