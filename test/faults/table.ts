// SPDX-License-Identifier: Apache-2.0
// Around the fault suite: a file in which every case notes its figures, and one table of them at the end.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { counted, type Figure } from "./figures.ts";

let dir = "";

export function setup(): void {
  dir = mkdtempSync(join(tmpdir(), "portolan-figures-"));
  process.env["PORTOLAN_FIGURES"] = join(dir, "figures");
  writeFileSync(join(dir, "figures"), "");
}

export function teardown(): void {
  const lines = readFileSync(join(dir, "figures"), "utf8").split("\n").filter(Boolean);
  rmSync(dir, { recursive: true, force: true });
  const figures = lines.map((line) => JSON.parse(line) as Figure).sort((a, b) => a.row - b.row);
  const rows = figures.map((figure) => {
    const { row, what, seen, bar, unit = "" } = figure;
    const number = `${Number(seen.toFixed(3))}${unit && ` ${unit}`}`;
    return [String(row), what, number, `≤ ${bar}${unit && ` ${unit}`}`, counted(figure) <= bar ? "" : "MISSED"];
  });
  const table = [["row", "fault and figure", "seen", "bar", ""], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  const text = table.map((cells) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  process.stdout.write(`\n${text.join("\n")}\n`);
}
