// SPDX-License-Identifier: Apache-2.0
// What commands read: the pinned maps, in which everything is that counts, and beside them the agent if one is alive.

import { existsSync } from "node:fs";
import { BpfError, BpfObject } from "libbpf-ts";
import { askAgent } from "../agent/control-client.ts";
import type { AgentReport } from "../agent/report.ts";
import { Maps } from "../datapath/maps.ts";
import { socketObject } from "../datapath/object-file.ts";
import { lockHolder, type PinPaths, pinPaths } from "../datapath/pins.ts";
import { DEFAULT_BPFFS, DEFAULT_RUN_DIR } from "./settings.ts";
import { type Flags, textFlag } from "./usage.ts";

/** Nothing is pinned: no agent has run here, or all was cleaned up. Exit status 1. */
export class NothingPinned extends Error {
  constructor(dir: string) {
    super(`nothing is pinned in ${dir}: no agent has run here, or its pins are elsewhere (--bpffs)`);
    this.name = "NothingPinned";
  }
}

export interface View {
  readonly pins: PinPaths;
  readonly bpffs: string;
  /** Null: no agent answers. */
  readonly agent: AgentReport | null;
  /** "agent" or "pins": where the state comes from. */
  readonly readFrom: "agent" | "pins";
  /** One sentence for people. */
  readonly whose: string;
}

/** Asks the agent first, which also knows where its pins are. */
export async function openView(flags: Flags): Promise<View> {
  const agent = await askAgent<AgentReport>(textFlag(flags, "runDir", DEFAULT_RUN_DIR), "/v1/status");
  const bpffs = textFlag(flags, "bpffs", agent?.paths.bpffs ?? DEFAULT_BPFFS);
  const pins = pinPaths(bpffs);
  if (agent !== null) {
    return { pins, bpffs, agent, readFrom: "agent", whose: `the agent is running (pid ${agent.pid})` };
  }
  const holder = lockHolder(pins.root);
  const whose =
    holder === null
      ? "no agent is running: read from the pinned maps"
      : `an agent is running (pid ${holder}) with another --run-dir: read from the pinned maps`;
  return { pins, bpffs, agent, readFrom: "pins", whose };
}

/** Throws NothingPinned. */
export function requirePins({ pins }: View): void {
  if (!existsSync(pins.maps)) throw new NothingPinned(pins.version);
}

/** Says on standard error, where no pipe trips over it, whose state a table shows. */
export function sayWhose({ whose }: View): void {
  process.stderr.write(`# ${whose}\n`);
}

/** The pinned maps, for reading. Their own types; without CAP_SYS_ADMIN, which that takes, those of this release's object. */
export function openMaps({ maps }: PinPaths): Maps {
  try {
    return Maps.openPinned(maps, { readOnly: true });
  } catch (error) {
    if (!(error instanceof BpfError) || error.code !== "EPERM") throw error;
  }
  using object = BpfObject.open(socketObject());
  using btf = object.btf();
  return Maps.openPinned(maps, { readOnly: true, btf });
}
