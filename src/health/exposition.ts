// SPDX-License-Identifier: Apache-2.0
// The text that a scrape gets, as the Go client writes it: families sorted by name, series by their labels, and no family
// that has no value yet.

import { goNumber } from "./go-number.ts";
import type { Registry } from "./prometheus.ts";

type Family = Pick<Awaited<ReturnType<Registry["getMetricsAsJSON"]>>[number], "name" | "help" | "values"> & {
  readonly type: unknown;
};
/** What the registry's array holds besides what its types say. */
interface Collectable {
  get(): Promise<Family>;
}
type Labels = Readonly<Partial<Record<string, string | number>>>;

interface Sample {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

/**
 * The registry in text format 0.0.4. Waits for what has to be collected first. A family that cannot be collected is left
 * out, and then there is portolan_scrape_failed_families: the others are still worth having.
 */
export async function expose(registry: Registry): Promise<string> {
  const metrics = registry.getMetricsAsArray() as unknown as readonly Collectable[];
  const collected = await Promise.allSettled(metrics.map(async (metric) => metric.get()));
  const families = collected.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failed = collected.length - families.length;
  if (failed > 0) families.push(failedFamilies(failed));
  families.sort((a, b) => (a.name < b.name ? -1 : 1));
  return families.map(familyText).join("");
}

function failedFamilies(value: number): Family {
  const help = "Families of metrics that this scrape could not collect.";
  return { name: "portolan_scrape_failed_families", help, type: "gauge", values: [{ value, labels: {} }] };
}

function familyText(family: Family): string {
  const samples = (family.values as readonly Sample[]).map(({ labels, value, metricName = family.name }) => {
    const { le, ...others } = labels;
    const bound = le === undefined ? {} : { le: typeof le === "number" ? goNumber(le) : le };
    return {
      series: labelText(others),
      line: `${metricName}${labelText({ ...others, ...bound })} ${goNumber(value)}\n`,
    };
  });
  if (samples.length === 0) return "";
  // Stable: the lines of one histogram stay in their order.
  samples.sort((a, b) => (a.series < b.series ? -1 : a.series > b.series ? 1 : 0));
  const help = family.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  const head = `# HELP ${family.name} ${help}\n# TYPE ${family.name} ${family.type}\n`;
  return head + samples.map(({ line }) => line).join("");
}

function labelText(labels: Labels): string {
  const names = Object.keys(labels).sort();
  if (names.length === 0) return "";
  return `{${names.map((name) => `${name}="${escaped(String(labels[name]))}"`).join(",")}}`;
}

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
