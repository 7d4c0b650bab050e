// SPDX-License-Identifier: Apache-2.0
// Can this node run portolan? Each finding says what was found, why it matters and how to mend it. Changes nothing: the
// same checks stand before every start.

import { accessSync, constants } from "node:fs";
import type { Config } from "../../config/schema.ts";
import { lockHolder, pinPaths, pinProblems } from "../../datapath/pins.ts";
import { attachedPrograms, probePrograms } from "../../datapath/programs.ts";
import { type CgroupChoice, findCgroup, judgeCgroup } from "../../node/cgroup.ts";
import { fileSystem, kernelRelease, OLDEST_KERNEL, ownCapabilities } from "../../node/kernel.ts";
import { deadPeerWays, describeWays } from "../dead-peers/ways.ts";
import { type Finding, findingText } from "./finding.ts";
import { otherProxies } from "./other-proxies.ts";

/** The findings, in the order of checking, and the cgroup that was settled on (null: none). */
export interface Preflight {
  readonly findings: readonly Finding[];
  readonly cgroup: string | null;
}

/** `objectFile` null leaves out the verifier's answer, for a start that gets it anyway. Takes well under 2 s. */
export function preflight(config: Config, objectFile: string | null): Preflight {
  const cgroup = config.cgroup === null ? findCgroup() : judgeCgroup(config.cgroup);
  const findings = [
    kernel(),
    capabilities(),
    bpffs(config.bpffs),
    ...pins(config.bpffs),
    cgroup2(cgroup, config.cgroup !== null),
    ...(objectFile === null ? [] : [programs(objectFile), deadPeers(config)]),
    ...otherProxies(cgroup !== null && isCgroup2(cgroup) ? cgroup.dir : null, {
      programs: ourPrograms(config.bpffs),
      running: agentRuns(config.bpffs),
    }),
    reservedPorts(config.reserveNodePorts),
  ];
  return { findings, cgroup: cgroup?.dir ?? null };
}

/** What keeps an agent from starting, as the reasons of a Refusal. */
export function refusals(findings: readonly Finding[], replacement: Config["replacement"]): string[] {
  return findings
    .filter(({ result }) => result === "refused" || (result === "strict" && replacement === "strict"))
    .map(findingText);
}

function kernel(): Finding {
  const { text, oldEnough } = kernelRelease();
  const oldest = OLDEST_KERNEL.join(".");
  return {
    check: "kernel",
    result: oldEnough ? "ok" : "refused",
    found: `Linux ${text}`,
    why: `the socket programs need Linux ${oldest} or newer`,
    mend: oldEnough ? null : "boot a newer kernel",
  };
}

function capabilities(): Finding {
  const held = ownCapabilities();
  const missing = (["BPF", "NET_ADMIN"] as const).filter((name) => !held.has(name)).map((name) => `CAP_${name}`);
  return {
    check: "capabilities",
    result: missing.length === 0 ? "ok" : "refused",
    found: missing.length === 0 ? "CAP_BPF and CAP_NET_ADMIN are held" : `${missing.join(" and ")} missing`,
    why: "the two that loading and attaching the programs takes; no others are needed",
    mend: missing.length === 0 ? null : "run as root, or add the capabilities to the container's securityContext",
  };
}

function bpffs(dir: string): Finding {
  const type = fileSystem(dir);
  const base = { check: "bpffs", why: "pins keep the programs and maps serving while no agent runs" };
  if (type === "bpf") return { ...base, result: "ok", found: `mounted at ${dir}`, mend: null };
  const found = type === "missing" ? `${dir} does not exist` : `${dir} is no bpf file system`;
  return {
    ...base,
    result: "refused",
    found,
    mend: `${type === "missing" ? `mkdir -p ${dir} && ` : ""}mount -t bpf -o mode=0700 bpf ${dir}, or name another one (--bpffs)`,
  };
}

function pins(bpffsDir: string): Finding[] {
  if (fileSystem(bpffsDir) !== "bpf") return [];
  const paths = pinPaths(bpffsDir);
  const why = "what is pinned there is taken over, so it must be portolan's and of this version";
  const problems = ask(() => pinProblems(paths));
  if (typeof problems === "string")
    return [{ check: "pins", result: "refused", found: problems, why, mend: "run as root" }];
  if (problems.length === 0) return [{ check: "pins", result: "ok", found: paths.version, why, mend: null }];
  return problems.map((problem) => {
    const [found = "", mend = null] = problem.split(/: (.*)/s);
    return { check: "pins", result: "refused", found, why, mend };
  });
}

function ask<T>(question: () => T): T | string {
  try {
    return question();
  } catch (error) {
    return (error as Error).message;
  }
}

const isCgroup2 = ({ dir }: CgroupChoice): boolean => fileSystem(dir) === "cgroup2";

function cgroup2(choice: CgroupChoice | null, named: boolean): Finding {
  const base = { check: "cgroup", why: "the programs run for the processes below one cgroup v2 directory" };
  if (choice === null) {
    const dir = "/run/portolan/cgroup";
    const mend = `mkdir -p ${dir} && mount -t cgroup2 none ${dir}, and name it (--cgroup)`;
    return { ...base, result: "refused", found: "no cgroup v2 is mounted", mend };
  }
  if (!isCgroup2(choice)) {
    return {
      ...base,
      result: "refused",
      found: `${choice.dir} is no cgroup v2 directory`,
      mend: "name one (--cgroup)",
    };
  }
  const found = `${choice.dir}: ${choice.why}`;
  if (choice.wholeNode || named) return { ...base, result: "ok", found, mend: null };
  return {
    ...base,
    result: "strict",
    found,
    mend: "mount the node's cgroup v2 root into the container, or name a directory (--cgroup)",
  };
}

function programs(objectFile: string): Finding {
  const base = { check: "programs", why: "the kernel's verifier has the last word on what it can run" };
  const { setsErrno, instructions, error } = probePrograms(objectFile);
  if (error !== null) {
    const log = error.log?.trimEnd().split("\n").slice(-3).join(" | ");
    const found = `not accepted: ${error.message}${log ? ` (${log})` : ""}`;
    const mend = error.code === "EPERM" ? "run with CAP_BPF and CAP_NET_ADMIN" : "report it, with the kernel's release";
    return { ...base, result: "refused", found, mend };
  }
  const found = `accepted, ${instructions} instructions verified`;
  if (setsErrno) return { ...base, result: "ok", found, mend: null };
  const lacking = "; this kernel (before 5.18) cannot choose the errno of a refused call";
  return {
    ...base,
    result: "warning",
    found: found + lacking,
    mend: "boot Linux 5.18 or newer for ECONNREFUSED at once",
  };
}

function deadPeers(config: Config): Finding {
  const ways = deadPeerWays(config);
  const { reasons } = ways;
  return {
    check: "dead peers",
    result: "ok",
    found: `${describeWays(ways)}${reasons.length === 0 ? "" : ` (${reasons.join("; ")})`}`,
    why: "a connected UDP socket does not notice by itself that its endpoint is gone",
    mend: null,
  };
}

function ourPrograms(bpffsDir: string): ReadonlySet<number> {
  const ours = ask(() => attachedPrograms(pinPaths(bpffsDir)));
  return typeof ours === "string" ? new Set() : ours;
}

/** Whoever holds the lock of these pins; a start beside it ends there, with its pid. */
function agentRuns(bpffsDir: string): boolean {
  return typeof ask(() => lockHolder(pinPaths(bpffsDir).root)) === "number";
}

function reservedPorts(wanted: boolean): Finding {
  const file = "/proc/sys/net/ipv4/ip_local_reserved_ports";
  const base = { check: "reserved ports", why: "no outgoing connection may take a NodePort as its source port" };
  if (!wanted) return { ...base, result: "ok", found: "left alone, as configured", mend: null };
  try {
    accessSync(file, constants.W_OK);
    return { ...base, result: "ok", found: `${file} can be written`, mend: null };
  } catch {
    const mend = "mount /proc/sys writable, or reserve the NodePort range on the node yourself";
    return { ...base, result: "warning", found: `${file} cannot be written`, mend };
  }
}
