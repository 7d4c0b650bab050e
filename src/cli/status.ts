// SPDX-License-Identifier: Apache-2.0
// portolan status: is the agent alive and in sync, is the datapath in place, what is wrong.

import { styleText } from "node:util";
import type { AgentReport } from "../agent/report.ts";
import { type HookStatus, hookStatus } from "../datapath/programs.ts";
import { readUnits } from "../program/recover.ts";
import { denialOf } from "../source/api-error.ts";
import { isPinned, openMaps, openView, type View } from "./pinned.ts";
import { alignColumns, formatDocument, formatTable, parseFormat } from "./table.ts";
import { BPFFS, type CommandSpec, EXIT, type Flags, NO_HEADERS, OUTPUT, RUN_DIR, textFlag } from "./usage.ts";

export const statusCommand: CommandSpec = {
  usage: "status",
  summary: "say whether the agent is in sync, the datapath in place, and what is not accepted or does not fit",
  details: `
Asks the agent; if none answers, says what the pinned maps and links tell without it: traffic goes on by them.

Examples:
  portolan status
  portolan status -o wide                      memory, fill of the maps, counters of the source
  portolan status -o json | jq .agent.latency

Exit status: 0 the datapath is in place (with or without an agent), 1 nothing is pinned.
`,
  flags: [OUTPUT, NO_HEADERS, RUN_DIR, BPFFS],
  run,
};

interface Datapath {
  readonly pins: string;
  readonly units: number;
  readonly frontends: number;
  readonly backends: number;
  readonly hooks: readonly (HookStatus & { readonly attached: boolean })[];
}

async function run(flags: Flags): Promise<number> {
  const format = parseFormat(textFlag(flags, "output", "table"));
  const view = await openView(flags);
  const datapath = isPinned(view.pins) ? readDatapath(view) : null;
  if (format === "json" || format === "yaml") {
    process.stdout.write(await formatDocument({ readFrom: view.readFrom, agent: view.agent, datapath }, format));
  } else {
    process.stdout.write(describe(view, datapath, { wide: format === "wide", headers: flags["headers"] !== false }));
  }
  return datapath === null ? EXIT.FAILED : EXIT.OK;
}

/** A living agent knows its units; without one they are counted in the maps. */
function readDatapath({ pins, agent }: View): Datapath {
  const hooks = hookStatus(pins).map((hook) => ({ ...hook, attached: hook.cgroupId !== null }));
  if (agent !== null) {
    const { units, fill } = agent.programmer;
    return { pins: pins.version, units, frontends: fill.frontends.used, backends: fill.backends.used, hooks };
  }
  using maps = openMaps(pins);
  const found = readUnits(maps);
  const units = [...found.units.values()];
  const frontends = units.reduce((sum, { rows }) => sum + rows.length, found.anyPort.length);
  const backends = units.reduce((sum, { backendIds }) => sum + backendIds.length, 0);
  return { pins: pins.version, units: units.length, frontends, backends, hooks };
}

interface Shape {
  readonly wide: boolean;
  readonly headers: boolean;
}

function describe(view: View, datapath: Datapath | null, { wide, headers }: Shape): string {
  const lines: [string, string][] = [["agent", agentLine(view)]];
  if (view.agent !== null) lines.push(...agentLines(view.agent));
  lines.push(["datapath", datapath === null ? `nothing is pinned in ${view.pins.version}` : datapathLine(datapath)]);
  if (view.agent !== null && wide) lines.push(...wideLines(view.agent));
  const blocks = [alignColumns(lines)];
  if (view.agent !== null) blocks.push(...troubles(view.agent, headers));
  return blocks.join("\n");
}

function agentLine({ agent, whose }: View): string {
  if (agent === null) return whose;
  return `running (pid ${agent.pid}), node ${agent.node}, portolan ${agent.version}, up ${duration(agent.uptimeSec)}`;
}

function agentLines(agent: AgentReport): [string, string][] {
  const { source, objects, latency, programmer, audit } = agent;
  const from = source.peer === null || source.source.includes(source.peer) ? "" : ` (${source.peer})`;
  const pinned =
    programmer.recovered > 0 ? `serving what was pinned, ${programmer.recovered} units` : "nothing was pinned";
  const synced = agent.synced
    ? `${objects.services} Services, ${objects.endpoints} endpoints; first after ${agent.syncSec?.toFixed(2)} s`
    : `not yet: waiting for ${agent.waitsFor}; ${pinned}`;
  const whose = source.source === "kubernetes" ? "API server" : "folder";
  const trouble = source.denied === null ? "unreachable" : `refuses (${denialOf(source.denied)})`;
  const away = source.awaySince === null ? "" : `; ${whose} ${trouble} since ${source.awaySince}`;
  const reason = source.reason === null ? "" : `, ${source.reason}`;
  const lines: [string, string][] = [
    ["source", `${source.source}${from}: ${source.state}${reason}${away}`],
    ...source.refused.map((refused): [string, string] => ["refused", refused]),
    ["in sync", synced],
  ];
  if (latency.count > 0) {
    lines.push([
      "latency",
      `p50 ${latency.p50Ms} ms, p99 ${latency.p99Ms} ms from event to map (${latency.count} changes)`,
    ]);
  }
  if (audit.repairedTotal > 0) lines.push(["audit", auditLine(audit)]);
  for (const failure of [programmer.failure, audit.failure]) if (failure !== null) lines.push(["failure", failure]);
  return lines;
}

/** What somebody else changed and the agent put back. */
function auditLine({ repairedTotal, repaired, lastRepairMs }: AgentReport["audit"]): string {
  const kinds = Object.entries(repaired).filter(([, count]) => count > 0);
  const counts = kinds.map(([kind, count]) => `${kind} ${count}`).join(", ");
  return `${repairedTotal} repairs (${counts}), the last ${duration((Date.now() - lastRepairMs) / 1_000)} ago`;
}

function datapathLine({ units, frontends, backends, hooks, pins }: Datapath): string {
  const attached = hooks.filter((hook) => hook.attached).length;
  return `${units} units, ${frontends} frontends, ${backends} backends; ${attached} of ${hooks.length} programs attached (${pins})`;
}

function wideLines({
  programmer,
  audit,
  loopDelay,
  source,
  memory,
  reservedNodePorts,
  nodeFacts,
  serviceCidrs,
  deviceAddresses,
  deadPeers,
  servers,
  paths,
}: AgentReport): [string, string][] {
  const fill = Object.entries(programmer.fill).map(([name, { used, capacity }]) => `${name} ${used}/${capacity}`);
  const counters = Object.entries(source.counters).map(([name, value]) => `${name} ${value}`);
  return [
    ["maps", fill.join(", ")],
    ["writes", `${programmer.writes} in ${programmer.applies} syncs, ${programmer.graces} grace periods`],
    ["counters", counters.join(", ")],
    ["servers", serversText(servers)],
    ["cgroup", paths.cgroup],
    ["node", nodeLine(nodeFacts)],
    ["ServiceCIDRs", serviceCidrs.join(", ") || "-"],
    ["addresses", deviceAddresses.join(", ") || "-"],
    ["node ports", `${reservedNodePorts} reserved`],
    [
      "event loop",
      `held up ${loopDelay.firstSync.maxMs.toFixed(0)} ms at most in the first sync, ${loopDelay.since.maxMs.toFixed(0)} ms since`,
    ],
    ["audits", auditsText(audit)],
    ["dead peers", deadPeersLine(deadPeers)],
    [
      "memory",
      `${(memory.rssBytes / 2 ** 20).toFixed(0)} MiB resident (mapped maps included), heap ${(memory.heapUsedBytes / 2 ** 20).toFixed(0)} MiB`,
    ],
  ];
}

/** What the Node object says, as far as there is one. */
function nodeLine({ zone, primaryAddresses, podCidrs }: AgentReport["nodeFacts"]): string {
  const parts = [zone === "" ? "no zone" : `zone ${zone}`];
  if (primaryAddresses.length > 0) parts.push(`at ${primaryAddresses.join(", ")}`);
  if (podCidrs.length > 0) parts.push(`pods in ${podCidrs.join(", ")}`);
  return parts.join("; ");
}

/** Sockets whose endpoint serves no more. */
function deadPeersLine({ how, ended, stranded, failingEndpoints, failedSends }: AgentReport["deadPeers"]): string {
  const failing = failingEndpoints === 0 ? "" : `, sends to ${failingEndpoints} endpoints fail (${failedSends} so far)`;
  return `${how}; ${ended[4] + ended[6]} ended, ${stranded} left${failing}`;
}

function auditsText({ audits, periodSec, workMs }: AgentReport["audit"]): string {
  const last = audits === 0 ? "" : `; the last worked for ${workMs.toFixed(0)} ms`;
  return `${audits}, every ${periodSec} s${last}`;
}

function serversText({ health, metrics, serviceChecks }: AgentReport["servers"]): string {
  return `health ${health ?? "none"}, metrics ${metrics ?? "none"}, ${serviceChecks} health checks of Services`;
}

/** What does not fit, is not accepted, or was warned of: each as a table of its own. */
function troubles({ programmer, problems, warnings, heldNodePorts }: AgentReport, headers: boolean): string[] {
  const options = { wide: false, headers };
  const blocks: string[] = [];
  if (programmer.pending.length > 0) {
    const table = formatTable(
      programmer.pending,
      [
        { title: "PENDING", cell: (unit) => unit.key },
        { title: "REASON", cell: (unit) => unit.reason },
      ],
      options,
    );
    blocks.push(styleText("yellow", table));
  }
  if (problems.length > 0) {
    const table = formatTable(
      problems,
      [
        { title: "NOT ACCEPTED", cell: (problem) => problem.kind },
        { title: "NAME", cell: (problem) => problem.key },
        { title: "FIELD", cell: (problem) => problem.field },
        { title: "REASON", cell: (problem) => problem.reason },
      ],
      options,
    );
    blocks.push(styleText("yellow", table));
  }
  const held = heldNodePorts.map((port) => `NodePort ${port} is held by a process of this host`);
  for (const warning of [...warnings, ...held]) blocks.push(`${styleText("yellow", "warning")} ${warning}\n`);
  return blocks;
}

function duration(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days}d${hours}h`;
  if (hours > 0) return `${hours}h${minutes}m`;
  return minutes > 0 ? `${minutes}m${Math.floor(seconds % 60)}s` : `${seconds.toFixed(1)}s`;
}
