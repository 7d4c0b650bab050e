// SPDX-License-Identifier: Apache-2.0
// The network namespaces of the node: those with a name, those that only a process holds, each once and never our own.

import { spawn } from "node:child_process";
import { mkdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NamespaceSearch } from "../../src/node/netns.ts";
import { connectedSockets } from "../../src/node/sock-diag.ts";
import { command, eventually } from "../support/daemon.ts";

const NAME = `ptdp-${process.pid}-named`;
const STALE = `/run/netns/ptdp-${process.pid}-stale`;
const holder = spawn("unshare", ["--net", "sleep", "300"], { stdio: "ignore" });
const own = statSync("/proc/self/ns/net").ino;
/** Those of others may have gone since they were found. */
const inodes = (paths: readonly string[]): number[] =>
  paths.flatMap((path) => statSync(path, { throwIfNoEntry: false })?.ino ?? []);

beforeAll(async () => {
  await command(["ip", "netns", "add", NAME]);
  mkdirSync("/run/netns", { recursive: true });
  // What is left of a namespace whose mount is gone.
  writeFileSync(STALE, "");
  await eventually("a namespace without a name", () =>
    readlinkSync(`/proc/${holder.pid}/ns/net`) === `net:[${own}]` ? undefined : true,
  );
});

afterAll(async () => {
  holder.kill("SIGKILL");
  rmSync(STALE, { force: true });
  await command(["ip", "netns", "del", NAME]);
});

test("a search that stops says so", async () => {
  const search = new NamespaceSearch(1);
  expect([...search.named(), ...(await search.ofProcesses())]).toHaveLength(1);
  expect(search.isComplete).toBe(false);
});

test("are found once each, and can be entered", async () => {
  const search = new NamespaceSearch();
  const named = search.named();
  expect(named).toContain(`/run/netns/${NAME}`);
  expect(named).not.toContain(STALE);
  const held = await search.ofProcesses();
  expect(inodes(held)).toContain(statSync(`/proc/${holder.pid}/ns/net`).ino);
  const all = inodes([...named, ...held]);
  expect(new Set(all).size).toBe(all.length);
  expect(all).not.toContain(own);
  // Others may be made meanwhile.
  const again = inodes([...search.named(), ...(await search.ofProcesses())]);
  expect(again.filter((one) => all.includes(one))).toEqual([]);
  for (const netns of [`/run/netns/${NAME}`, `/proc/${holder.pid}/ns/net`]) {
    for await (const _ of connectedSockets({ protocol: 17, netns })) throw new Error("nobody is there");
  }
});

test("in a PID namespace of its own nobody knows them all", async () => {
  const script =
    'import("./src/node/netns.ts").then(({ NamespaceSearch }) => console.log(new NamespaceSearch().isComplete))';
  const inside = ["unshare", "--pid", "--fork", "--mount-proc", process.execPath, "-e", script];
  expect((await command(inside)).trim()).toBe("false");
});
