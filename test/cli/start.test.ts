// SPDX-License-Identifier: Apache-2.0
// Starts that must not happen: what is wrong is named, the exit status says whose turn it is, and nothing stays behind.

import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BpfMap, BpfObject, BpfProgram } from "libbpf-ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { command } from "../support/daemon.ts";
import { ANSWER, Bed, call, outcome, portolan, service, slice } from "./bed.ts";

const objectFile = new URL("../../dist/bpf/sock.bpf.o", import.meta.url).pathname;

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
});
afterEach(() => bed?.remove());

const inBpffs = (): string[] => readdirSync(bed.bpffs).filter((name) => !name.endsWith(".debug"));

/** What a refused or failed start said, having left nothing. */
async function failedStart(code: number, flags: readonly string[] = []): Promise<string> {
  const agent = bed.run(flags);
  expect(await agent.exited).toEqual({ code, signal: null });
  expect(bed.attached()).toEqual([]);
  return agent.log();
}

test("a kubeconfig that does not exist", async () => {
  const log = await failedStart(1, ["--source=kubernetes", `--kubeconfig=${bed.dir}/kubeconfig`]);
  expect(log).toContain(`${bed.dir}/kubeconfig`);
  expect(log).not.toContain("    at ");
  expect(inBpffs()).toEqual([]);
});

test("a source folder that does not exist", async () => {
  const log = await failedStart(1, [`--source=dir:${bed.dir}/none`]);
  expect(log).toContain(`source folder ${bed.dir}/none: does not exist`);
  expect(inBpffs()).toEqual([]);
});

test("a directory that is no bpffs", async () => {
  const log = await failedStart(78, [`--bpffs=${bed.dir}`]);
  expect(log).toMatch(/bpffs: .* is no bpf file system — mount -t bpf/);
  expect(readdirSync(bed.dir)).not.toContain("portolan");
});

test("a pin directory of a newer version is left serving", async () => {
  mkdirSync(join(bed.bpffs, "portolan", "v2", "maps"), { recursive: true });
  const log = await failedStart(78);
  expect(log).toMatch(/pins: .*\/portolan\/v2 belongs to a newer portolan/);
  expect(readdirSync(join(bed.bpffs, "portolan"))).toEqual(["v2"]);
});

test("pins that are not portolan's, and pins of somebody else", async () => {
  mkdirSync(join(bed.pins, "maps"), { recursive: true });
  using map = BpfMap.create({ type: "hash", name: "other", keySize: 4, valueSize: 4, maxEntries: 1 });
  map.pin(join(bed.pins, "maps", "other"));
  map.pin(join(bed.pins, "maps", "pt_names"));
  chownSync(join(bed.pins, "maps", "pt_names"), 1000, 1000);
  const log = await failedStart(78);
  expect(log).toMatch(/\/maps\/other is not portolan's/);
  expect(log).toMatch(/\/maps\/pt_names belongs to uid 1000/);
  expect(readdirSync(join(bed.pins, "maps")).sort()).toEqual(["other", "pt_names"]);
});

test("maps of another size are named with both sizes, and replaced on demand", async () => {
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  const first = await bed.synced();
  await first.agent.stop();
  const config = join(bed.dir, "config.yaml");
  const sizes = "mapSizes: {units: 1000, backends: 2000}\n";
  writeFileSync(config, `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n${sizes}`);
  const refused = bed.run([`--config=${config}`]);
  expect(await refused.exited).toEqual({ code: 78, signal: null });
  expect(refused.log()).toMatch(/map pt_backends: size is 524288, wanted 2000/);
  expect(refused.log()).toMatch(/map pt_names: size is 131072, wanted 1000/);
  expect(refused.log()).toMatch(/--recreate-maps/);
  expect(existsSync(bed.runDir)).toBe(false);
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");

  const second = await bed.synced([`--config=${config}`, "--recreate-maps"]);
  expect(second.agent.log()).toMatch(/maps are new/);
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  using map = BpfMap.open(join(bed.pins, "maps", "pt_backends"));
  expect(map.info.maxEntries).toBe(2000);
  expect(readdirSync(bed.pins).sort()).toEqual(["links", "maps", "progs"]);
});

test("a second agent names the first, by its run directory and by its pins", async () => {
  const { agent } = await bed.synced();
  const same = bed.run();
  expect(await same.exited).toEqual({ code: 1, signal: null });
  expect(same.log()).toContain(`another portolan agent (pid ${agent.pid}) holds ${bed.runDir}`);
  const elsewhere = bed.run([`--run-dir=${bed.dir}/run2`]);
  expect(await elsewhere.exited).toEqual({ code: 1, signal: null });
  expect(elsewhere.log()).toContain(`another portolan agent (pid ${agent.pid}) holds ${bed.bpffs}/portolan`);
  expect((await bed.cli("status")).stdout).toContain(`running (pid ${agent.pid})`);
  expect(existsSync(`${bed.dir}/run2/portolan.sock`)).toBe(false);
});

test("service programs of somebody else on the cgroup: refused under strict, told under probe", async () => {
  using object = BpfObject.open(objectFile);
  for (const { name } of object.programs) object.setAutoload(name, name === "pt_connect4");
  object.setMaxEntries("pt_backends", 16);
  object.load();
  using link = object.program("pt_connect4").attachCgroup(bed.cgroup, "cgroup_inet4_connect");
  const agent = bed.run();
  expect(await agent.exited).toEqual({ code: 78, signal: null });
  const text = `cgroup_inet4_connect program ${link.info.programId} (pt_connect4)`;
  expect(agent.log()).toContain(text);
  expect(inBpffs()).toEqual([]);
  expect(existsSync(bed.runDir)).toBe(false);
  const { agent: probing } = await bed.synced(["--replacement=probe"]);
  expect(probing.log()).toContain(text);
});

test("a kube-proxy that is running here, and something on its health port", async () => {
  const program = join(bed.dir, "kube-proxy");
  copyFileSync("/bin/sleep", program);
  await command(["chmod", "755", program]);
  const proxy = await bed.kubeProxy(["sh", "-c", 'echo ready; exec "$0" 600', program]);
  expect(await failedStart(78)).toContain(`kube-proxy is running (pid ${proxy.pid})`);
  await proxy.stop("SIGKILL");
  const listener = await bed.daemon([process.execPath, "-e", ANSWER, "10256", ""]);
  expect(await failedStart(78)).toMatch(/something listens on port 10256/);
  await listener.stop("SIGKILL");
  await bed.synced();
});

test("a kube-proxy in another network namespace is nobody's business", async () => {
  const program = join(bed.dir, "kube-proxy");
  copyFileSync("/bin/sleep", program);
  await command(["chmod", "755", program]);
  const other = `${bed.netns}-other`;
  await command(["ip", "netns", "add", other]);
  const proxy = await bed.kubeProxy(["sh", "-c", 'echo ready; exec "$0" 600', program], { netns: other });
  try {
    await bed.synced();
  } finally {
    await proxy.stop("SIGKILL");
    await command(["ip", "netns", "del", other]);
  }
});

test("a cgroup that is not there", async () => {
  rmdirSync(bed.cgroup);
  const { code, stderr } = await outcome([portolan, "run", ...bed.runFlags], bed.host);
  expect(code).toBe(78);
  expect(stderr).toContain(`${bed.cgroup} is no cgroup v2 directory`);
  mkdirSync(bed.cgroup);
});

test("pins with names of ours that are something else", async () => {
  const { agent } = await bed.synced();
  await agent.stop();
  const [maps, links, progs] = ["maps", "links", "progs"].map((kind) => join(bed.pins, kind)) as [
    string,
    string,
    string,
  ];
  {
    using program = BpfProgram.open(join(progs, "pt_connect4"));
    program.pin(join(maps, "pt_later"));
    unlinkSync(join(maps, "pt_stats"));
    program.pin(join(maps, "pt_stats"));
    program.pin(join(links, "pt_extra"));
  }
  mkdirSync(join(progs, "pt_dir"));
  const refused = bed.run();
  expect(await refused.exited).toEqual({ code: 78, signal: null });
  expect(refused.log()).toContain(`${maps}/pt_later belongs to a newer portolan`);
  expect(refused.log()).toContain(`${maps}/pt_stats is no map`);
  expect(refused.log()).toContain(`${links}/pt_extra is no link`);
  expect(refused.log()).toContain(`${progs}/pt_dir is no program`);
  expect(bed.attached()).toHaveLength(11);
  // All of it but the directory is pt_*, so it is removed.
  const { code, stderr } = await bed.cli("cleanup");
  expect([code, stderr]).toEqual([0, expect.stringContaining(`left alone, not of this portolan: ${progs}\n`)]);
  expect(bed.attached()).toEqual([]);
});

test("a pin directory that is a link to another place is neither used nor emptied", async () => {
  const { agent } = await bed.synced();
  await agent.stop();
  renameSync(join(bed.bpffs, "portolan"), join(bed.bpffs, "mine"));
  symlinkSync("mine", join(bed.bpffs, "portolan"));
  const refused = bed.run();
  expect(await refused.exited).toEqual({ code: 78, signal: null });
  expect(refused.log()).toContain(`${bed.bpffs}/portolan is no directory`);
  expect((await bed.cli("cleanup")).stderr).toBe(`left alone, not of this portolan: ${bed.bpffs}/portolan\n`);
  expect(bed.attached()).toHaveLength(11);
});

test("sizes beyond all reason", async () => {
  const config = join(bed.dir, "config.yaml");
  const write = (sizes: string): void =>
    writeFileSync(config, `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nmapSizes: {${sizes}}\n`);
  write("units: 1000000000000, slots: 67109888");
  expect(await failedStart(1, [`--config=${config}`])).toMatch(
    /mapSizes.units: must be 16777216 or less.*\n.*mapSizes.slots: must be 67108864 or less/,
  );
  expect(inBpffs()).toEqual([]);
});
