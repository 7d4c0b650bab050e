// SPDX-License-Identifier: Apache-2.0
// The text that a scrape gets: families sorted by name, labels sorted by name, and no family that has no value yet, as
// the Go client writes them.

import type { Registry } from "prom-client";

interface Sample {
  readonly labels: Readonly<Partial<Record<string, string | number>>>;
  readonly value: number;
  readonly metricName?: string;
}

/** The registry in text format 0.0.4. Waits for what has to be collected first. */
export async function expose(registry: Registry): Promise<string> {
  const families = await registry.getMetricsAsJSON();
  families.sort((a, b) => (a.name < b.name ? -1 : 1));
  return families.map(familyText).join("");
}

type Family = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>[number];

function familyText(family: Family): string {
  const samples = ((family as { values?: readonly Sample[] }).values ?? []).map((sample) => {
    return `${sample.metricName ?? family.name}${labelText(sample.labels)} ${numberText(sample.value)}\n`;
  });
  if (samples.length === 0) return "";
  const help = family.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${family.name} ${help}\n# TYPE ${family.name} ${family.type}\n${samples.join("")}`;
}

function labelText(labels: Sample["labels"]): string {
  const names = Object.keys(labels).sort();
  if (names.length === 0) return "";
  return `{${names.map((name) => `${name}="${escaped(String(labels[name]))}"`).join(",")}}`;
}

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? "+Inf" : "-Inf";
}
