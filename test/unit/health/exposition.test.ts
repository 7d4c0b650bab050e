// SPDX-License-Identifier: Apache-2.0
// The text of a scrape: order, escapes, bounds, and no family before its first value.

import { expect, test } from "vitest";
import { expose } from "../../../src/health/exposition.ts";
import { Counter, Gauge, Histogram, Registry } from "../../../src/health/prometheus.ts";
import { ServiceConnections } from "../../../src/health/service-connections.ts";

test("families and series sorted, labels in order, a labelled family with its first value", async () => {
  const registers = [new Registry()];
  const later = new Counter({ name: "z_total", help: "Later.", labelNames: ["b", "a"], registers });
  new Gauge({ name: "a_bytes", help: 'One\nline \\ "more".', registers }).set(2e6);
  const seconds = new Histogram({ name: "m_seconds", help: "M.", labelNames: ["z"], buckets: [0.5, 1e6], registers });
  const [registry = new Registry()] = registers;
  const before = '# HELP a_bytes One\\nline \\\\ "more".\n# TYPE a_bytes gauge\na_bytes 2e+06\n';
  expect(await expose(registry)).toBe(before);
  seconds.observe({ z: "2" }, 1);
  seconds.observe({ z: "1" }, 0.25);
  later.inc({ b: "x", a: 'q"\n\\' });
  later.inc({ b: "x", a: "b" }, 3);
  const histogram = (z: string, low: number, sum: number): string =>
    [
      `m_seconds_bucket{le="0.5",z="${z}"} ${low}`,
      `m_seconds_bucket{le="1e+06",z="${z}"} 1`,
      `m_seconds_bucket{le="+Inf",z="${z}"} 1`,
      `m_seconds_sum{z="${z}"} ${sum}`,
      `m_seconds_count{z="${z}"} 1\n`,
    ].join("\n");
  expect(await expose(registry)).toBe(
    `${before}# HELP m_seconds M.\n# TYPE m_seconds histogram\n${histogram("1", 1, 0.25)}${histogram("2", 0, 1)}` +
      '# HELP z_total Later.\n# TYPE z_total counter\nz_total{a="b",b="x"} 3\nz_total{a="q\\"\\n\\\\",b="x"} 1\n',
  );
});

test("a family that cannot be collected is left out and counted; the others are there", async () => {
  const registry = new Registry();
  new Gauge({ name: "a", help: "A.", registers: [registry] }).set(1);
  const collect = (): void => {
    throw new Error("no such map");
  };
  new Gauge({ name: "b", help: "B.", registers: [registry], collect });
  const help = "Families of metrics that this scrape could not collect.";
  expect(await expose(registry)).toBe(
    "# HELP a A.\n# TYPE a gauge\na 1\n" +
      `# HELP portolan_scrape_failed_families ${help}\n# TYPE portolan_scrape_failed_families gauge\n` +
      "portolan_scrape_failed_families 1\n",
  );
});

test("connections: the Services with the most by name, all others as one; a name is kept while it has connections", async () => {
  const connections = new ServiceConnections(2);
  const read = async (counts: Record<string, number>) =>
    Object.fromEntries(await connections.read(Object.entries(counts)));
  expect(await read({ "a/a": 1, "b/b": 5, "c/c": 3, "d/d": 0 })).toEqual({ "b/b": 5, "c/c": 3, "": 1 });
  expect(await read({ "a/a": 9, "b/b": 1, "c/c": 1 })).toEqual({ "b/b": 1, "c/c": 1, "": 9 });
  expect(await read({ "a/a": 9, "b/b": 0, "c/c": 1 })).toEqual({ "a/a": 9, "c/c": 1, "": 0 });
  expect(await read({})).toEqual({ "": 0 });
});

test("the ports of a Service are one", async () => {
  const units = [
    ["a/a", 2],
    ["b/b", 1],
    ["a/a", 3],
  ] as const;
  expect([...(await new ServiceConnections().read(units))]).toEqual([
    ["a/a", 5],
    ["b/b", 1],
    ["", 0],
  ]);
});
