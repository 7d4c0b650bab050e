// SPDX-License-Identifier: Apache-2.0
// The demo does what it says, quickly, and takes everything away again, also when it is interrupted.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { findCgroup } from "../../src/node/cgroup.ts";
import { alone } from "../support/contention.ts";
import { eventually } from "../support/daemon.ts";
import { outcome, portolan } from "./bed.ts";

/** Of demos by now: namespaces, cgroups, folders, mounts, processes. */
function traces(): string[] {
  const dirs = ["/run/netns", findCgroup()?.dir ?? "", tmpdir()].flatMap((dir) => readdirSync(dir));
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(commandLine);
  return [...dirs, ...mounts, ...processes].filter((name) => name.includes("portolan-demo-"));
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

test("tells the whole story in less than 30 s", async () => {
  const before = traces();
  const { answer, tookMs } = await alone(() => outcome([portolan, "demo"]));
  const { code, stdout, stderr } = answer;
  expect([code, stderr]).toEqual([0, ""]);
  expect(tookMs).toBeLessThan(30_000);
  expect(stdout).toMatch(/web by ClusterIP, from pod3 +pod[12] +10\.96\.0\.80 port 80/);
  expect(stdout).toMatch(/web over IPv6, from pod3 +pod[12] +fd00:96::80 port 80/);
  expect(stdout).toMatch(/web by NodePort on loopback +pod[12] +127\.0\.0\.1 port 30080/);
  expect(stdout).toMatch(/names over UDP, from the node +pod3 +10\.96\.0\.53 port 53/);
  expect(stdout).toMatch(/empty: nobody to answer +ECONNREFUSED/);
  expect(stdout).toMatch(
    /pod3 answered \d+ ms after the manifest was replaced\n {2}then, in 200 calls: pod1 \d+, pod3 \d+\n/,
  );
  expect(stdout).toMatch(/200 calls without it: pod1 \d+, pod3 \d+\n/);
  expect(stdout).toMatch(/"addr": \[0,0,0,0,0,0,0,0,0,0,255,255,10,96,0,80/);
  expect(stdout).toMatch(/ {2}0 writes to the maps\n/);
  expect(stdout).not.toContain("\u001b[");
  expect(traces()).toEqual(before);
});

test("interrupted, it leaves nothing", async () => {
  const before = traces();
  const demo = spawn(portolan, ["demo"], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  demo.stdout.on("data", (data: Buffer) => {
    said += data.toString();
  });
  const exited = new Promise((resolve) => demo.once("exit", (code) => resolve(code)));
  await eventually("the agent's start", () => (said.includes("portolan run") ? true : undefined), { everyMs: 5 });
  demo.kill("SIGINT");
  expect(await exited).toBe(1);
  expect(said).toContain("interrupted");
  expect(traces()).toEqual(before);
});
