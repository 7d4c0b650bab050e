// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { plot } from "../../../bench/plot.ts";
import type { ArmResult, ConnectResult } from "../../../bench/results.ts";

const arm = (ratio: number): ArmResult => ({
  base: "direct/node",
  us: 17 * ratio,
  ratio: [ratio, ratio * 0.99, ratio * 1.01],
  addedUs: [0, 0, 0],
  wholeUs: 0,
  wholeRatio: [1, 1, 1],
});

const ratios = {
  portolan: [1.005, 1.006, 1.007],
  "iptables-nft": [1.57, 2.43, 12.9],
  "iptables-legacy": [1.52, 1.76, 4.9],
  nftables: [1.5, 1.5],
} as const;
const counts = [1, 1_000, 10_000];

function result(): ConnectResult {
  const lanes = Object.entries(ratios).flatMap(([mode, values]) =>
    values.map((ratio, n) => ({ mode, count: counts[n] ?? 0, ratio })),
  );
  const arms = lanes.flatMap(({ mode, count, ratio }) =>
    ["node/last", "none"].map((what) => [`${mode}/${count}/${what}`, arm(ratio)]),
  );
  return {
    format: 1,
    form: "quick",
    takenAt: "2026-01-01",
    machine: {
      kernel: "6.18",
      cpu: "A <CPU> & co",
      cpus: 2,
      memoryGiB: 8,
      spectreV2: "",
      node: "",
      iptables: "",
      nft: "",
    },
    rounds: 300,
    callsPerBlock: 20,
    arms: Object.fromEntries(arms),
    lanes: lanes.map(({ mode, count }) => ({ mode, count, loadSec: 1 })),
    goals: [],
  };
}

test("draws every lane in both panels inside the picture, with escaped text", () => {
  const svg = plot(result());
  expect(svg.match(/<polyline/g)).toHaveLength(8);
  expect(svg).toContain("portolan 1.007×");
  expect(svg).toContain("A &lt;CPU&gt; &amp; co");
  const heights = [...svg.matchAll(/ (?:y|y1|y2|cy)="([\d.]+)"/g)].map(([, y]) => Number(y));
  expect(Math.min(...heights)).toBeGreaterThan(10);
  expect(Math.max(...heights)).toBeLessThan(414);
});

test("keeps the names at the ends of the lines apart", () => {
  const names = [...plot(result()).matchAll(/class="name [\w-]+" x="([\d.]+)" y="([\d.]+)"/g)];
  const heights = names
    .slice(0, 4)
    .map(([, , y]) => Number(y))
    .sort((a, b) => a - b);
  for (let n = 1; n < heights.length; n++) expect((heights[n] ?? 0) - (heights[n - 1] ?? 0)).toBeGreaterThan(14);
});
