// SPDX-License-Identifier: Apache-2.0
// An agent that follows another: nothing is written that is right already, no hook is ever empty, damage is healed.

import { mkdirSync, readdirSync, renameSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BpfLink, BpfMap } from "libbpf-ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MAP_NAMES } from "../../src/datapath/maps.ts";
import type { Daemon } from "../support/daemon.ts";
import { ANSWER, Bed, call, logLines, service, slice } from "./bed.ts";

let bed: Bed;
let agent: Daemon;
beforeEach(async () => {
  bed = await Bed.create();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080]));
  ({ agent } = await bed.synced());
});
afterEach(() => bed?.remove());

const linkIds = (): number[] =>
  readdirSync(join(bed.pins, "links")).map((name) => {
    using link = BpfLink.open(join(bed.pins, "links", name));
    return link.info.id;
  });

const hello = (): Promise<string> => call(bed.served, "10.96.0.80", 80);

test("SIGTERM and SIGINT end it by that signal and leave everything in place", async () => {
  expect(await agent.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  expect(logLines(agent).at(-1)).toMatchObject({
    signal: "SIGTERM",
    msg: "portolan stops; the datapath stays in place",
  });
  expect(await hello()).toBe("hello");
  const { agent: second } = await bed.synced();
  expect(await second.stop("SIGINT")).toEqual({ code: null, signal: "SIGINT" });
  expect(await hello()).toBe("hello");
});

test("after kill -9 the next one writes nothing and keeps every link", async () => {
  const links = linkIds();
  const programs = bed.attached();
  await agent.stop("SIGKILL");
  expect(await hello()).toBe("hello");
  const { line } = await bed.synced();
  expect(line).toMatchObject({ services: 1, units: 1, writes: 0 });
  expect(linkIds()).toEqual(links);
  // Its own programs are in, on the same links.
  expect(bed.attached()).toHaveLength(programs.length);
  expect(bed.attached()).not.toEqual(programs);
  expect(await hello()).toBe("hello");
});

test("links and programs whose pins are gone are put back", async () => {
  await agent.stop("SIGKILL");
  for (const name of ["pt_connect4", "pt_post_bind6"]) unlinkSync(join(bed.pins, "links", name));
  unlinkSync(join(bed.pins, "progs", "pt_connect4"));
  const { line } = await bed.synced();
  expect(line).toMatchObject({ writes: 0 });
  expect(bed.attached()).toHaveLength(11);
  expect(readdirSync(join(bed.pins, "progs"))).toHaveLength(11);
  expect(await hello()).toBe("hello");
});

test("a map whose pin is gone: all maps are new, filled before the programs turn to them", async () => {
  await agent.stop("SIGKILL");
  unlinkSync(join(bed.pins, "maps", "pt_names"));
  const { agent: next, line } = await bed.synced();
  expect(next.log()).toContain("the pins of pt_names are gone");
  expect(line["writes"]).toBeGreaterThan(0);
  expect(await hello()).toBe("hello");
  expect(readdirSync(join(bed.pins, "maps"))).toHaveLength(MAP_NAMES.length);
});

test("a swap of the maps that was cut off is finished", async () => {
  await agent.stop("SIGKILL");
  renameSync(join(bed.pins, "maps"), join(bed.pins, "maps-old"));
  expect((await bed.synced()).line).toMatchObject({ writes: 0 });
  expect(readdirSync(bed.pins).sort()).toEqual(["links", "maps", "progs"]);
  expect(await hello()).toBe("hello");
});

test("what was removed while no agent ran is removed at its return", async () => {
  await agent.stop("SIGKILL");
  bed.manifest("web.yaml", service("other", { clusterIp: "10.96.0.81" }), ...slice("other", [8080]));
  await bed.synced();
  expect(await call(bed.served, "10.96.0.81", 80)).toBe("hello");
  using map = BpfMap.open(join(bed.pins, "maps", "pt_names"));
  expect([...map.keys()]).toHaveLength(1);
});

test("a configuration that changes, by a swapped link too, ends it; a look at it and its absence do not", async () => {
  await agent.stop();
  const write = (name: string, level: string): void => {
    mkdirSync(join(bed.dir, name));
    const text = `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nlogLevel: ${level}\n`;
    writeFileSync(join(bed.dir, name, "config.yaml"), text);
  };
  const swap = (name: string): void => {
    symlinkSync(name, join(bed.dir, "data.new"));
    renameSync(join(bed.dir, "data.new"), join(bed.dir, "data"));
  };
  write("one", "info");
  write("two", "warn");
  swap("one");
  const config = join(bed.dir, "data", "config.yaml");
  const { agent: next } = await bed.synced([`--config=${config}`]);
  utimesSync(config, new Date(), new Date());
  unlinkSync(join(bed.dir, "data"));
  await sleep(1_500);
  expect(next.exit).toBe(undefined);
  swap("two");
  expect(await next.exited).toEqual({ code: 1, signal: null });
  expect(next.log()).toContain(`${config} has changed`);
  expect(await hello()).toBe("hello");
});
