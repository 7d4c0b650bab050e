// SPDX-License-Identifier: Apache-2.0
// portolan cleanup: takes away every trace of portolan on this node. Needs no API server, and nothing to be there.

import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { askAgent, controlSocket } from "../agent/control-client.ts";
import { pinPaths, removePins } from "../datapath/pins.ts";
import { AgentRunning } from "../datapath/refusal.ts";
import { ReservedPorts, reservedPortsFile } from "../node/reserved-ports.ts";
import { DEFAULT_BPFFS, DEFAULT_RUN_DIR, DEFAULT_STATE_DIR, STATE_DIR } from "./settings.ts";
import { BPFFS, type CommandSpec, EXIT, type Flags, RUN_DIR, textFlag } from "./usage.ts";

export const cleanupCommand: CommandSpec = {
  usage: "cleanup",
  summary: "remove every trace of portolan from this node",
  details: `
Detaches the programs and removes their pins, the maps, the control socket, remembered API servers, and portolan's own
share of net.ipv4.ip_local_reserved_ports. Connections that exist go on; Services are no longer translated. Running it
twice does no harm. While an agent runs it refuses: stop the agent first.

Examples:
  portolan cleanup
  portolan cleanup --bpffs /run/portolan/bpf --run-dir /run/portolan

Exit status: 0 nothing of portolan is left, 1 failed, or an agent is running.
`,
  flags: [BPFFS, RUN_DIR, STATE_DIR],
  run,
};

function run(flags: Flags): Promise<number> {
  return removeTraces({
    bpffs: textFlag(flags, "bpffs", DEFAULT_BPFFS),
    runDir: textFlag(flags, "runDir", DEFAULT_RUN_DIR),
    stateDir: textFlag(flags, "stateDir", DEFAULT_STATE_DIR),
  });
}

/** Where an agent leaves traces. */
export interface Traces {
  readonly bpffs: string;
  readonly runDir: string;
  readonly stateDir: string;
}

/** Takes them away, says what they were and gives the exit status. Throws AgentRunning, and what cannot be removed. */
export async function removeTraces({ bpffs, runDir, stateDir }: Traces): Promise<number> {
  const agent = await askAgent<{ pid: number }>(runDir, "/v1/pid");
  if (agent !== null) throw new AgentRunning(runDir, agent.pid);
  const { removed, left } = removePins(pinPaths(bpffs));
  const done = [...removed];
  done.push(...releasePorts(reservedPortsFile(runDir)));
  done.push(...removeFiles(runDir, [controlSocket(runDir), `${reservedPortsFile(runDir)}.new`]));
  done.push(...removeFiles(stateDir, [join(stateDir, "api-servers.json"), join(stateDir, "api-servers.json.new")]));
  for (const line of done) process.stdout.write(`removed ${line}\n`);
  for (const path of left) process.stderr.write(`left alone, not of this portolan: ${path}\n`);
  if (done.length === 0) process.stdout.write("nothing to remove\n");
  return EXIT.OK;
}

function releasePorts(stateFile: string): string[] {
  if (!existsSync(stateFile)) return [];
  const ports = new ReservedPorts(stateFile);
  const count = ports.ours.length;
  ports.release();
  return [`${count} reserved port${count === 1 ? "" : "s"}`, stateFile];
}

/** Files of ours, then the directory if nothing else is in it. */
function removeFiles(dir: string, files: readonly string[]): string[] {
  if (!existsSync(dir)) return [];
  const present = files.filter((file) => existsSync(file));
  for (const file of present) rmSync(file);
  if (readdirSync(dir).length > 0) return present;
  rmdirSync(dir);
  return [...present, dir];
}
