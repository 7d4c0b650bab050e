// SPDX-License-Identifier: Apache-2.0
// What commands read: the pinned maps, in which everything is that counts, and beside them the agent if one is alive.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { BpfError, BpfObject } from "libbpf-ts";
import { AgentSilent, askAgent } from "../agent/control-client.ts";
import type { AgentReport } from "../agent/report.ts";
import { MAP_NAMES, Maps } from "../datapath/maps.ts";
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

/** Somebody removed pins, or they are of another release. Exit status 1. */
export class IncompletePins extends Error {
  constructor(dir: string, missing: readonly string[]) {
    super(`${missing.join(", ")} not pinned in ${dir}: the next agent that starts makes them anew`);
    this.name = "IncompletePins";
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
  const asked = await askStatus(textFlag(flags, "runDir", DEFAULT_RUN_DIR));
  const agent = asked instanceof AgentSilent ? null : asked;
  const bpffs = textFlag(flags, "bpffs", agent?.paths.bpffs ?? DEFAULT_BPFFS);
  const pins = pinPaths(bpffs);
  if (agent !== null) {
    return { pins, bpffs, agent, readFrom: "agent", whose: `the agent is running (pid ${agent.pid})` };
  }
  const holder = lockHolder(pins.root);
  let whose = "no agent is running: read from the pinned maps";
  if (holder !== null) whose = `an agent is running (pid ${holder}) with another --run-dir: read from the pinned maps`;
  if (asked instanceof AgentSilent) whose = `${asked.message}: read from the pinned maps`;
  return { pins, bpffs, agent, readFrom: "pins", whose };
}

function askStatus(runDir: string): Promise<AgentReport | AgentSilent | null> {
  return askAgent<AgentReport>(runDir, "/v1/status").catch((error: unknown) => {
    if (error instanceof AgentSilent) return error;
    throw error;
  });
}

/** Throws EACCES: what may not be seen is not absent. */
export const isPinned = ({ maps }: PinPaths): boolean => statSync(maps, { throwIfNoEntry: false }) !== undefined;

/** Throws NothingPinned. */
export function requirePins({ pins }: View): void {
  if (!isPinned(pins)) throw new NothingPinned(pins.version);
}

/** Says on standard error, where no pipe trips over it, whose state a table shows. */
export function sayWhose({ whose }: View): void {
  process.stderr.write(`# ${whose}\n`);
}

/** The pinned maps, for reading. Throws IncompletePins. Their own types; without CAP_SYS_ADMIN, which that takes, those of this release's object. */
export function openMaps({ maps }: PinPaths): Maps {
  try {
    return Maps.openPinned(maps, { readOnly: true });
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    const missing = MAP_NAMES.filter((name) => !existsSync(join(maps, name)));
    if (error.code === "ENOENT" && missing.length > 0) throw new IncompletePins(maps, missing);
    if (error.code !== "EPERM") throw error;
  }
  using object = BpfObject.open(socketObject());
  using btf = object.btf();
  return Maps.openPinned(maps, { readOnly: true, btf });
}
