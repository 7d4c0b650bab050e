// SPDX-License-Identifier: Apache-2.0
// The picture of the connection benchmark as SVG: connect() as a ratio to a direct one against the number of Services,
// to the last Service and to no Service at all. Reads well on light and dark pages; colours that the colour-blind can tell apart.

import { armName, MODES, type Mode } from "./lane.ts";
import type { ConnectResult, Triple } from "./results.ts";

const WIDTH = 940;
const HEIGHT = 400;
const PANEL = { top: 64, bottom: 340, width: 250 } as const;
const LEFTS = [46, 510] as const;
const Y_TICKS = [1, 1.5, 2, 3, 5, 8, 12, 20] as const;
const Y_TOP_MARGIN = 1.12;

const LABELS: Record<Mode, string> = {
  portolan: "portolan",
  nftables: "nftables",
  "iptables-legacy": "iptables (legacy)",
  "iptables-nft": "iptables (nft)",
};

const STYLE = `
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px } .small { font-size: 12px; fill: #57606a } .name { font-weight: 600; font-size: 12px }
.grid { stroke: #d0d7de; stroke-width: 1 } .direct { stroke: #57606a; stroke-dasharray: 4 4 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.portolan { stroke: #0969da } .nftables { stroke: #1a7f64 } .iptables-legacy { stroke: #bf6a02 } .iptables-nft { stroke: #b3276d }
text.portolan, text.nftables, text.iptables-legacy, text.iptables-nft { stroke: none }
text.portolan, .dot.portolan { fill: #0969da } text.nftables, .dot.nftables { fill: #1a7f64 }
text.iptables-legacy, .dot.iptables-legacy { fill: #bf6a02 } text.iptables-nft, .dot.iptables-nft { fill: #b3276d }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d } .direct { stroke: #9198a1 }
.portolan { stroke: #58a6ff } .nftables { stroke: #3fc9a0 } .iptables-legacy { stroke: #f0a04b } .iptables-nft { stroke: #f778ba }
text.portolan, .dot.portolan { fill: #58a6ff } text.nftables, .dot.nftables { fill: #3fc9a0 }
text.iptables-legacy, .dot.iptables-legacy { fill: #f0a04b } text.iptables-nft, .dot.iptables-nft { fill: #f778ba }
}`;

interface Point {
  readonly count: number;
  readonly ratio: Triple;
}

interface Scale {
  readonly x: (count: number) => number;
  readonly y: (ratio: number) => number;
}

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const fixed = (n: number): string => n.toFixed(1);

function series(result: ConnectResult, mode: Mode, what: string): Point[] {
  return result.lanes
    .filter((lane) => lane.mode === mode)
    .flatMap(({ count }) => {
      const arm = result.arms[armName(mode, count, what)];
      return arm ? [{ count, ratio: arm.ratio }] : [];
    })
    .sort((a, b) => a.count - b.count);
}

function scaleOf(left: number, largest: number): Scale {
  const decades = 4;
  const height = PANEL.bottom - PANEL.top;
  return {
    x: (count) => left + (Math.log10(count) / decades) * PANEL.width,
    y: (ratio) =>
      PANEL.bottom - (Math.log(Math.max(ratio, 0.97) / 0.97) / Math.log((largest * Y_TOP_MARGIN) / 0.97)) * height,
  };
}

function axes(left: number, { x, y }: Scale, largest: number): string {
  const right = left + PANEL.width;
  const rows = Y_TICKS.filter((tick) => tick <= largest * Y_TOP_MARGIN).map(
    (tick) =>
      `<line class="${tick === 1 ? "direct" : "grid"}" x1="${left}" x2="${right}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/>` +
      `<text class="small" x="${left - 8}" y="${fixed(y(tick) + 4)}" text-anchor="end">${tick}×</text>`,
  );
  const columns = [1, 10, 100, 1_000, 10_000].map(
    (tick) =>
      `<line class="grid" x1="${fixed(x(tick))}" x2="${fixed(x(tick))}" y1="${PANEL.bottom}" y2="${PANEL.bottom + 5}"/>` +
      `<text class="small" x="${fixed(x(tick))}" y="${PANEL.bottom + 20}" text-anchor="middle">${tick.toLocaleString("en")}</text>`,
  );
  const caption = `<text class="small" x="${left + PANEL.width / 2}" y="${PANEL.bottom + 42}" text-anchor="middle">Services</text>`;
  return [...rows, ...columns, caption].join("\n");
}

/** Heights of the names at the ends of the lines, moved apart where they would cover each other. */
function spread(wanted: readonly number[], gap: number): number[] {
  const order = wanted.map((_, n) => n).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  const placed = [...wanted];
  // From the bottom up: the lowest name keeps its place, the others give way upwards.
  for (let n = order.length - 2; n >= 0; n--) {
    const below = placed[order[n + 1] ?? 0] ?? 0;
    const self = order[n] ?? 0;
    placed[self] = Math.min(placed[self] ?? 0, below - gap);
  }
  return placed;
}

function lineOf(mode: Mode, points: readonly Point[], { x, y }: Scale): string {
  const path = points.map(({ count, ratio: [value] }) => `${fixed(x(count))},${fixed(y(value))}`).join(" ");
  const marks = points.map(({ count, ratio: [value, low, high] }) => {
    const at = fixed(x(count));
    return (
      `<line class="${mode}" x1="${at}" x2="${at}" y1="${fixed(y(low))}" y2="${fixed(y(high))}"/>` +
      `<circle class="dot ${mode}" cx="${at}" cy="${fixed(y(value))}" r="3.5"/>`
    );
  });
  return `<polyline class="line ${mode}" points="${path}"/>${marks.join("")}`;
}

function panel(result: ConnectResult, left: number, title: string, what: string): string {
  const lines = MODES.map((mode) => ({ mode, points: series(result, mode, what) })).filter(
    ({ points }) => points.length > 0,
  );
  const largest = Math.max(2, ...lines.flatMap(({ points }) => points.map(({ ratio }) => ratio[0])));
  const scale = scaleOf(left, largest);
  const ends = lines.map(({ points }) => points.at(-1)?.ratio[0] ?? 1);
  const heights = spread(ends.map(scale.y), 16);
  const names = lines.map(({ mode }, n) => {
    const text = `${LABELS[mode]} ${(ends[n] ?? 0).toFixed(mode === "portolan" ? 3 : 2)}×`;
    return `<text class="name ${mode}" x="${left + PANEL.width + 10}" y="${fixed((heights[n] ?? 0) + 4)}">${text}</text>`;
  });
  return [
    `<text class="title" x="${left}" y="${PANEL.top - 18}">${title}</text>`,
    axes(left, scale, largest),
    ...lines.map(({ mode, points }) => lineOf(mode, points, scale)),
    ...names,
  ].join("\n");
}

/** The whole picture; scales in both panels are logarithmic. */
export function plot(result: ConnectResult): string {
  const peer = result.form === "full" ? "kube-proxy 1.36" : "kube-proxy's rules";
  const foot = `Linux ${result.machine.kernel}, ${result.machine.cpu}; ${result.rounds} rounds of ${result.callsPerBlock} calls an arm, bars: 95 % intervals`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT + 14}" width="${WIDTH}" role="img" aria-label="Time of connect() as a ratio to a direct connection, against the number of Services">
<style>${STYLE}</style>
<text class="title" x="${LEFTS[0]}" y="20">Time of connect(), 1× = a direct connection (portolan and ${peer}, one run)</text>
${panel(result, LEFTS[0], "To the last Service", "node/last")}
${panel(result, LEFTS[1], "To no Service at all", "none")}
<text class="small" x="${LEFTS[0]}" y="${HEIGHT + 4}">${escaped(foot)}</text>
</svg>
`;
}
