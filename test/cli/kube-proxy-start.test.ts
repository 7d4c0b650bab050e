// SPDX-License-Identifier: Apache-2.0
// Started the way a kube-proxy DaemonSet starts its program: kubeadm's file as it is, under kube-proxy's name, and with the
// flags that end at once.

import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { command, type Daemon, eventually } from "../support/daemon.ts";
import { HEADER, KUBEADM } from "../unit/config/kube-proxy/cases.ts";
import { ANSWER, Bed, call, logLines, outcome, portolan, type Result, service, slice } from "./bed.ts";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
});
afterEach(() => bed?.remove());

function config(text: string): string {
  const file = join(bed.dir, "config.conf");
  writeFileSync(file, text);
  return `--config=${file}`;
}

const inSync = (agent: Daemon): Promise<string> =>
  agent.until("in sync", () => /^.*"in sync".*$/m.exec(agent.log())?.[0]);

/** Runs to its end in the node's namespace. */
const ran = (...flags: string[]): Promise<Result> => outcome([portolan, "run", ...bed.runFlags, ...flags], bed.host);

const sysctl = async (name: string): Promise<string> =>
  (await command(["sysctl", "-n", `net.netfilter.nf_conntrack_${name}`], bed.host)).trim();

const conntrack = (): Promise<string> =>
  command(["sh", "-c", "cd /proc/sys/net/netfilter && grep . *timeout* *liberal *max"], bed.host);

test("kubeadm's file starts it under kube-proxy's name, and asks for no sysctl", async () => {
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  const before = await conntrack();
  const program = join(bed.dir, "kube-proxy");
  symlinkSync(portolan, program);
  const agent = bed.run([config(KUBEADM), "--hostname-override= Node-7 "], bed.host, [program]);
  const line = await inSync(agent);
  expect(line).toMatch(/^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ portolan\] "in sync" services=1 /);
  expect(agent.log()).toMatch(/"portolan starts" version="[\d.]+" node="node-7" source="dir:/);
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  expect(await conntrack()).toBe(before);
  // Without CAP_SYS_RESOURCE it is told instead, and harms nothing.
  const score = readFileSync(`/proc/${agent.pid}/oom_score_adj`, "utf8");
  expect(score === "-999\n" || agent.log().includes('"oom_score_adj stays as it is" score=-999 reason=')).toBe(true);
  expect(await agent.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
});

test("as the first process of a container, which its own signals do not end, it exits as a shell would say it", async () => {
  const unshared = ["unshare", "--pid", "--fork", "--kill-child=KILL", portolan, "run"];
  const outer = bed.run([config(KUBEADM)], bed.host, unshared);
  await inSync(outer);
  const inner = Number(readFileSync(`/proc/${outer.pid}/task/${outer.pid}/children`, "utf8"));
  process.kill(inner, "SIGTERM");
  expect(await outer.exited).toEqual({ code: 143, signal: null });
  expect(bed.attached()).toHaveLength(11);
});

test("what a file asks for: log level and format, the score for the OOM killer, conntrack's sysctls", async () => {
  const timeouts = "tcpEstablishedTimeout: 20h, tcpCloseWaitTimeout: 90s, udpTimeout: 31500ms, udpStreamTimeout: 0s";
  const text = `${HEADER}oomScoreAdj: 7\nlogging: {verbosity: 4, format: json}\nconntrack: {tcpBeLiberal: true, ${timeouts}}\n`;
  const stream = await sysctl("udp_timeout_stream");
  const agent = bed.run([config(text)]);
  await inSync(agent);
  const lines = logLines(agent);
  expect(lines.some(({ level }) => level === "debug")).toBe(true);
  expect(lines.filter(({ msg }) => msg === "connection tracking set")).toMatchObject([
    { name: "nf_conntrack_tcp_timeout_established", value: 72_000 },
    { name: "nf_conntrack_tcp_timeout_close_wait", value: 90 },
    { name: "nf_conntrack_udp_timeout", value: 31 },
    { name: "nf_conntrack_tcp_be_liberal", value: 1 },
  ]);
  expect(await sysctl("tcp_timeout_established")).toBe("72000");
  expect(await sysctl("tcp_timeout_close_wait")).toBe("90");
  expect(await sysctl("udp_timeout")).toBe("31");
  expect(await sysctl("udp_timeout_stream")).toBe(stream);
  expect(await sysctl("tcp_be_liberal")).toBe("1");
  expect(readFileSync(`/proc/${agent.pid}/oom_score_adj`, "utf8")).toBe("7\n");
});

test("a sysctl that is asked for and cannot be set: no start", async () => {
  // Outside the first network namespace the table's size can only be read.
  const agent = bed.run(["--conntrack-max-per-core=12345", "--conntrack-min=1"]);
  expect(await agent.exited).toEqual({ code: 1, signal: null });
  expect(agent.log()).toMatch(/portolan: conntrack: nf_conntrack_max cannot be set to \d+: E/);
  expect(agent.log()).not.toContain("    at ");
  expect(bed.attached()).toEqual([]);
});

test("unknown fields and flags without effect are told, a line each, and nothing else changes", async () => {
  const flags = [
    config(`${HEADER}foo: 1\nconntrack: {bar: 2}\niptables: {masqueradeAll: true}\n`),
    "--bind-address=10.0.0.1",
    "--masquerade-all",
  ];
  const agent = bed.run([...flags, "--kubeconfig=/none", "--vmodule=a=3", "--v=2"]);
  await inSync(agent);
  const file = join(bed.dir, "config.conf");
  for (const line of [
    `${file}: unknown field foo is ignored`,
    `${file}: unknown field conntrack.bar is ignored`,
    "--masquerade-all, --bind-address, --kubeconfig are ignored: the file counts",
    "--vmodule has no effect here",
    "masqueradeAll has no effect: a caller's socket keeps its own address",
  ])
    expect(agent.log()).toContain(`portolan] ${JSON.stringify(line)}\n`);
});

test("-v and --logging-format win over the file", async () => {
  const agent = bed.run([config(`${HEADER}logging: {format: text}\n`), "--logging-format=json", "-v", "6"]);
  await inSync(agent);
  expect(logLines(agent).some(({ level }) => level === "debug")).toBe(true);
});

test("a file that is written anew, and a ConfigMap that is swapped, end it with 1", async () => {
  const agent = bed.run([config(KUBEADM)]);
  await inSync(agent);
  writeFileSync(join(bed.dir, "config.conf"), `${KUBEADM}# changed\n`);
  expect(await agent.exited).toEqual({ code: 1, signal: null });

  const volume = join(bed.dir, "volume");
  for (const version of ["one", "two"]) {
    mkdirSync(join(volume, `..${version}`), { recursive: true });
    writeFileSync(join(volume, `..${version}`, "config.conf"), `${KUBEADM}# ${version}\n`);
  }
  symlinkSync("..one", join(volume, "..data"));
  symlinkSync("..data/config.conf", join(volume, "config.conf"));
  const second = bed.run([`--config=${volume}/config.conf`]);
  await eventually("in sync", () => (second.log().includes('"in sync"') ? true : undefined));
  rmSync(join(volume, "..data"));
  symlinkSync("..two", join(volume, "..data"));
  expect(await second.exited).toEqual({ code: 1, signal: null });
  expect(second.log()).toContain("has changed: start again with what it says now");
});

test("so does a file that another is renamed over, and one that goes and comes back otherwise; gone alone, or touched, it does not", async () => {
  const file = join(bed.dir, "config.conf");
  const replaced = (): void => {
    writeFileSync(`${file}.new`, `${KUBEADM}# renamed\n`);
    renameSync(`${file}.new`, file);
  };
  const back = async (): Promise<void> => {
    rmSync(file);
    await sleep(2_500);
    writeFileSync(file, KUBEADM);
    utimesSync(file, 1, 1);
    await sleep(2_500);
    expect(bed.attached()).toHaveLength(11);
    writeFileSync(file, `${KUBEADM}# back\n`);
  };
  for (const change of [replaced, back]) {
    const agent = bed.run([config(KUBEADM)]);
    await inSync(agent);
    await change();
    expect(await agent.exited).toEqual({ code: 1, signal: null });
    expect(agent.log()).toContain("has changed: start again with what it says now");
  }
});

test("a configuration may come through a pipe: read once, and not looked at again", async () => {
  const flags = bed.runFlags.map((flag) => `'${flag}'`).join(" ");
  const agent = bed.run([], bed.host, [
    "bash",
    "-c",
    `exec ${portolan} run --config=<(printf %s "$0") ${flags}`,
    KUBEADM,
  ]);
  await inSync(agent);
  await sleep(2_500);
  expect(await agent.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
});

test("--init-only prepares the node and serves nothing", async () => {
  const { code, stdout } = await ran(config(`${HEADER}conntrack: {tcpCloseWaitTimeout: 91s}\n`), "--init-only");
  expect(code).toBe(0);
  expect(stdout).toContain('"the node is prepared"');
  expect(await sysctl("tcp_timeout_close_wait")).toBe("91");
  expect([existsSync(bed.runDir), existsSync(bed.stateDir)]).toEqual([true, true]);
  expect(bed.attached()).toEqual([]);
  expect(existsSync(bed.pins)).toBe(false);
});

test("--init-only on a node that has to be mended first", async () => {
  const { code, stderr } = await ran("--init-only", `--bpffs=${bed.dir}`);
  expect([code, stderr]).toEqual([78, expect.stringMatching(/is no bpf file system/)]);
});

test("--cleanup removes every trace; while an agent runs it fails", async () => {
  const { agent } = await bed.synced();
  const running = await ran("--cleanup");
  expect([running.code, running.stderr]).toEqual([1, expect.stringContaining(`(pid ${agent.pid})`)]);
  await agent.stop("SIGTERM");
  expect(bed.attached()).not.toEqual([]);
  const { code, stdout } = await ran(config(KUBEADM), "--cleanup=true");
  expect(code).toBe(0);
  expect(stdout).toContain(`removed ${bed.pins}/links/pt_connect4\n`);
  expect(bed.attached()).toEqual([]);
  expect(await ran("--cleanup")).toMatchObject({ code: 0, stdout: "nothing to remove\n" });
});
