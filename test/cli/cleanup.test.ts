// SPDX-License-Identifier: Apache-2.0
// cleanup: not while an agent runs; then nothing is left; and again without complaint.

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfMap } from "libbpf-ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { command } from "../support/daemon.ts";
import { Bed, type Result, service } from "./bed.ts";

const sysctl = "net.ipv4.ip_local_reserved_ports";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
});
afterEach(() => bed?.remove());

const cleanup = (): Promise<Result> => bed.cli("cleanup", `--state-dir=${bed.stateDir}`);
const reserved = async (): Promise<string> => (await command(["sysctl", "-n", sysctl], bed.host)).trim();
const inBpffs = (): string[] => readdirSync(bed.bpffs).filter((name) => !name.endsWith(".debug"));

test("every trace goes, and nothing of anybody else", async () => {
  await command(["sysctl", "-qw", `${sysctl}=7000-7002,30090`], bed.host);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }));
  const { agent } = await bed.synced();
  mkdirSync(bed.stateDir);
  expect(await reserved()).toBe("7000-7002,30080,30090");
  await agent.stop("SIGKILL");
  expect(bed.attached()).toHaveLength(11);

  const { code, stdout } = await cleanup();
  expect(code).toBe(0);
  expect(stdout).toContain(`removed ${bed.pins}/links/pt_connect4\n`);
  expect(bed.attached()).toEqual([]);
  expect(inBpffs()).toEqual([]);
  expect(await reserved()).toBe("7000-7002,30090");
  expect([existsSync(bed.runDir), existsSync(bed.stateDir)]).toEqual([false, false]);

  expect(await cleanup()).toEqual({ code: 0, stdout: "nothing to remove\n", stderr: "" });
});

test("while an agent runs it refuses and names it, also when only the pins are known", async () => {
  const { agent } = await bed.synced();
  expect(await cleanup()).toMatchObject({
    code: 1,
    stderr: `portolan: another portolan agent (pid ${agent.pid}) holds ${bed.runDir}: stop it first\n`,
  });
  const { code, stderr } = await bed.cli("cleanup", `--run-dir=${bed.dir}/elsewhere`, `--state-dir=${bed.stateDir}`);
  expect(code).toBe(1);
  expect(stderr).toContain(`another portolan agent (pid ${agent.pid}) holds ${bed.bpffs}/portolan`);
  expect(bed.attached()).toHaveLength(11);
});

test("other versions and strangers' pins stay", async () => {
  const { agent } = await bed.synced();
  await agent.stop();
  mkdirSync(join(bed.bpffs, "portolan", "v2"));
  using map = BpfMap.create({ type: "hash", name: "other", keySize: 4, valueSize: 4, maxEntries: 1 });
  map.pin(join(bed.bpffs, "portolan", "other"));
  const { code, stderr } = await cleanup();
  expect(code).toBe(0);
  expect(stderr).toContain(`left alone, not of this portolan: ${bed.bpffs}/portolan/v2\n`);
  expect(readdirSync(join(bed.bpffs, "portolan")).sort()).toEqual(["other", "v2"]);
  expect(bed.attached()).toEqual([]);
});

test("nothing was ever there", async () => {
  expect(await cleanup()).toEqual({ code: 0, stdout: "nothing to remove\n", stderr: "" });
});
