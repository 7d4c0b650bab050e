// SPDX-License-Identifier: Apache-2.0
// A lane: one implementation of Services with a number of them in place, and what a client may call there. Its arms are
// what connect.c visits.

import type { BenchNode } from "./bed.ts";
import { ENDPOINT_PORT } from "./bed.ts";
import { type BenchService, benchServices } from "./services.ts";

export const MODES = ["portolan", "iptables-nft", "iptables-legacy", "nftables"] as const;
export type Mode = (typeof MODES)[number];

export interface Lane {
  readonly mode: Mode;
  readonly count: number;
  readonly node: BenchNode;
  readonly cgroup: string;
  /** The Services in the order the implementation tries them; portolan and nftables have none, theirs is by name. */
  readonly services: readonly BenchService[];
  /** From the start of the load (or of the agent) to the last rule in place. */
  readonly loadSec: number;
}

/** One arm as connect.c reads it. */
export interface Arm {
  readonly name: string;
  readonly kind: "tcp" | "udp" | "udp-connected";
  readonly netns: string;
  readonly cgroup: string;
  readonly port: number;
  readonly addresses: readonly string[];
}

/** Where direct connections start: a node without any Service implementation, a cgroup without programs. */
export interface Plain {
  readonly node: BenchNode;
  readonly cgroup: string;
}

const KINDS = [
  ["udp", "udp"],
  ["udp-connected", "udp-connected"],
] as const;

/** Arms of connections straight to endpoints: the measure of everything, and the same again as the check of the run. */
export function directArms(plain: Plain): Arm[] {
  const addresses = benchServices(1)[0]?.endpoints ?? [];
  const base = { cgroup: plain.cgroup, port: ENDPOINT_PORT, addresses };
  return ["direct", "direct-again"].flatMap((name) => [
    { ...base, name: `${name}/node`, kind: "tcp" as const, netns: plain.node.netns },
    { ...base, name: `${name}/pod`, kind: "tcp" as const, netns: plain.node.pod },
    ...KINDS.map(([kind, label]) => ({ ...base, name: `${name}/${label}`, kind, netns: plain.node.netns })),
  ]);
}

/** Name of a lane's arm: "portolan/10000/node/last". */
export const armName = (mode: Mode, count: number, what: string): string => `${mode}/${count}/${what}`;

/** What is called there: the first and the last Service from node and pod, no Service, affinity, UDP. */
export function laneArms(lane: Lane): Arm[] {
  const { node, cgroup, services } = lane;
  const name = (what: string): string => armName(lane.mode, lane.count, what);
  const call = (service: BenchService) => ({ cgroup, port: service.port, addresses: [service.clusterIp] });
  const plain = services.filter((service) => service.kind === "tcp");
  const first = plain[0];
  const last = plain.at(-1);
  if (!first || !last) throw new Error("a lane needs a plain Service");
  const arms: Arm[] = [
    { ...call(last), name: name("node/last"), kind: "tcp", netns: node.netns },
    { ...call(last), name: name("pod/last"), kind: "tcp", netns: node.pod },
    { cgroup, port: ENDPOINT_PORT, addresses: last.endpoints, name: name("none"), kind: "tcp", netns: node.netns },
    { cgroup, port: ENDPOINT_PORT, addresses: last.endpoints, name: name("none-pod"), kind: "tcp", netns: node.pod },
  ];
  if (first !== last) arms.push({ ...call(first), name: name("node/first"), kind: "tcp", netns: node.netns });
  const affinity = services.find((service) => service.kind === "affinity");
  if (affinity) arms.push({ ...call(affinity), name: name("affinity"), kind: "tcp", netns: node.netns });
  const udp = services.find((service) => service.kind === "udp");
  for (const [kind, label] of udp ? KINDS : []) {
    if (udp) arms.push({ ...call(udp), name: name(label), kind, netns: node.netns });
  }
  return arms;
}

/** The file connect.c reads. */
export const armsFile = (arms: readonly Arm[]): string =>
  arms
    .map((arm) => [arm.name, arm.kind, arm.netns, arm.cgroup, arm.port, arm.addresses.join(",")].join(" "))
    .map((line) => `${line}\n`)
    .join("");
