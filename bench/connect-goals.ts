// SPDX-License-Identifier: Apache-2.0
// The figures of the connection benchmark: goals 1 to 8, each made of arms of one run.

import { type Goal, judge, type Row } from "./goals.ts";
import { armName, type Mode } from "./lane.ts";
import type { Measured } from "./measure.ts";
import type { Interval, Run } from "./statistics.ts";

interface ConnectGoal extends Goal {
  readonly figure: (run: Run) => Interval | null;
}

/** The figure if this run has all of its arms. */
function of(run: Run, arms: readonly string[], value: (levels: readonly number[]) => number): Interval | null {
  return arms.every((arm) => run.has(arm)) ? run.figure(arms, value) : null;
}

const ratio = (arm: string, base: string) => (run: Run) => of(run, [arm, base], ([a = 0, b = 0]) => a / b);

const LARGE = 10_000;
const ours = (what: string, count = LARGE): string => armName("portolan", count, what);

/** `arm` against portolan at the largest size, each as a ratio to nothing: both are of the same run and place. */
const rival = (mode: Mode, count: number, what: string) => ratio(armName(mode, count, what), ours(what));

/** The largest number of Services that nftables was loaded with in this run. */
const nftablesCount = (run: Run): number =>
  [LARGE, 5_000, 1_000].find((n) => run.has(armName("nftables", n, "node/last"))) ?? 0;

/** Goal 8: µs that nftables adds to a connection over those that portolan adds. */
function addedLatency(run: Run): Interval | null {
  const arms = [armName("nftables", nftablesCount(run), "node/last"), ours("node/last"), "direct/node"];
  // What portolan adds may be lost in the noise; a nanosecond is the least that is believed.
  return of(run, arms, ([theirs = 0, our = 0, direct = 0]) => (theirs - direct) / Math.max(our - direct, 1));
}

const most = (
  row: string,
  text: string,
  pass: number,
  ambitious: number,
  figure: ConnectGoal["figure"],
): ConnectGoal => ({
  row,
  text,
  unit: "×",
  bound: "most",
  pass,
  ambitious,
  figure,
});
const least = (
  row: string,
  text: string,
  pass: number,
  ambitious: number,
  figure: ConnectGoal["figure"],
): ConnectGoal => ({
  ...most(row, text, pass, ambitious, figure),
  bound: "least",
});

const ofNftables = (what: string) => (run: Run) => rival("nftables", nftablesCount(run), what)(run);

const GOALS: readonly ConnectGoal[] = [
  most("1", "TCP connect, 10,000 Services / direct", 1.03, 1.015, ratio(ours("node/last"), "direct/node")),
  most("1", "… from a pod", 1.03, 1.015, ratio(ours("pod/last"), "direct/pod")),
  most("2", "… with session affinity", 1.06, 1.03, ratio(ours("affinity"), "direct/node")),
  most("3", "connect to no Service, programs attached / direct", 1.02, 1.01, ratio(ours("none"), "direct/node")),
  most("4", "10,000 Services / 1 Service", 1.03, 1.01, ratio(ours("node/last"), ours("node/last", 1))),
  least("5", "iptables-nft, 10,000, last / ours, node", 10, 12, rival("iptables-nft", LARGE, "node/last")),
  least("5", "… pod", 7, 8.5, rival("iptables-nft", LARGE, "pod/last")),
  least("6", "iptables-legacy, 10,000, last / ours, node", 4, 4.7, rival("iptables-legacy", LARGE, "node/last")),
  least("6", "… pod", 3, 3.5, rival("iptables-legacy", LARGE, "pod/last")),
  least("7", "nftables / ours, node", 1.4, 1.55, ofNftables("node/last")),
  least("7", "… pod", 1.25, 1.32, ofNftables("pod/last")),
  least("8", "latency added by nftables / by ours, node", 8, 20, addedLatency),
  most("UDP", "sendto to a Service / direct", 1.05, 1.03, ratio(ours("udp"), "direct/udp")),
  most(
    "UDP",
    "send on a connected socket / direct",
    1.005,
    1.002,
    ratio(ours("udp-connected"), "direct/udp-connected"),
  ),
];

/** Every goal with its figure in this run, by the time of connect() (or of the datagram's send) alone. */
export const connectRows = (measured: Measured): Row[] => GOALS.map((goal) => judge(goal, goal.figure(measured.first)));

/** A run counts if direct connections measured twice are the same, and nothing failed. */
export function runProblems(measured: Measured): string[] {
  const problems = measured.faults.map(
    ({ arm, failures, wrongPeers }) => `${arm}: ${failures} failed, ${wrongPeers} with a wrong peer name`,
  );
  for (const place of ["node", "pod"]) {
    const { low, high } = measured.first.compare(`direct-again/${place}`, `direct/${place}`).ratio;
    if (low < 0.98 || high > 1.02) {
      problems.push(
        `direct against direct (${place}) is [${low.toFixed(3)}, ${high.toFixed(3)}], outside [0.98, 1.02]`,
      );
    }
  }
  return problems;
}
