// SPDX-License-Identifier: Apache-2.0
// The direction of imports: every folder of src/ may import only the folders listed for it, and nothing goes in a circle.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const SRC = resolve("src");
const ALLOWED: Record<string, readonly string[]> = {
  model: [],
  compile: ["model"],
  source: ["model"],
  node: ["model"],
  datapath: ["model"],
  program: ["model", "compile", "datapath"],
  config: ["model"],
  health: ["model", "config", "program"],
  observe: ["model", "config", "program"],
  cli: ["model", "compile", "source", "node", "datapath", "program", "config", "agent"],
  agent: ["model", "compile", "source", "node", "datapath", "program", "config", "health", "observe"],
  bin: ["cli"],
};
/** The agent's rooms that the command line may enter: the composition root, and the control socket's client side. */
const AGENT_DOORS = ["agent/agent.ts", "agent/control-client.ts", "agent/preflight/finding.ts", "agent/report.ts"];

/** Folders in a layer, and what each may import of its layer besides itself: never the floor above, but for config's. */
const ROOMS: Record<string, readonly string[]> = {
  "agent/dead-peers": [],
  "agent/notices": [],
  "agent/own-node": [],
  "agent/preflight": ["agent/dead-peers"],
  "config/kube-proxy": ["config"],
  "source/decode": [],
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const imports: Import[] = files.flatMap((from) =>
  [...readFileSync(join(SRC, from), "utf8").matchAll(/(?:from|import\(?)\s*"([^"]+)"/g)].map((match) => ({
    from,
    specifier: match[1] ?? "",
  })),
);
const layerOf = (file: string): string => file.split("/")[0] ?? "";
const internal = imports
  .filter(({ specifier }) => specifier.startsWith("."))
  .map(({ from, specifier }) => ({ from, to: relative(SRC, resolve(SRC, dirname(from), specifier)) }));

test("imports go down the layers only", () => {
  const wrong = internal.filter(
    ({ from, to }) => layerOf(from) !== layerOf(to) && !(ALLOWED[layerOf(from)] ?? []).includes(layerOf(to)),
  );
  expect(wrong).toEqual([]);
  expect(files.map(layerOf).filter((layer) => !(layer in ALLOWED))).toEqual([]);
});

test("a room of a layer needs nothing of the floor above", () => {
  const wrong = internal.filter(({ from, to }) => {
    const [room, other] = [dirname(from), dirname(to)];
    if (room === other || room === layerOf(from) || layerOf(from) !== layerOf(to)) return false;
    return !(ROOMS[room] ?? []).includes(other);
  });
  expect(wrong).toEqual([]);
  expect(new Set(files.map((file) => dirname(file)).filter((room) => room.includes("/")))).toEqual(
    new Set(Object.keys(ROOMS)),
  );
});

test("the command line enters the agent by its doors", () => {
  const inside = internal.filter(
    ({ from, to }) => layerOf(from) === "cli" && layerOf(to) === "agent" && !AGENT_DOORS.includes(to),
  );
  expect(inside).toEqual([]);
});

test("model and compile know no Node", () => {
  const outside = imports.filter(
    ({ from, specifier }) => ["model", "compile"].includes(layerOf(from)) && !specifier.startsWith("."),
  );
  expect(outside).toEqual([]);
});

test("only datapath, node and cli's look at the kernel use the addon", () => {
  const users = new Set(imports.filter(({ specifier }) => specifier === "libbpf-ts").map(({ from }) => layerOf(from)));
  expect([...users].filter((layer) => !["datapath", "node", "cli", "agent"].includes(layer))).toEqual([]);
});

test("no file imports itself by a detour", () => {
  const next = Map.groupBy(internal, ({ from }) => from);
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
    if (done.has(file) || path.includes(file)) return;
    for (const { to } of next.get(file) ?? []) visit(to, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});
