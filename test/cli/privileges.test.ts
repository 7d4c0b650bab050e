// SPDX-License-Identifier: Apache-2.0
// As little as possible: two capabilities, a read-only file system, a container's seccomp filter; no port beyond
// kube-proxy's two, no debugger, no sysctl but one, and refusals that come at once.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { alone } from "../support/contention.ts";
import { command, Daemon, eventually } from "../support/daemon.ts";
import { ANSWER, Bed, call, logLines, outcome, portolan, service, slice } from "./bed.ts";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080]));
});
afterEach(() => bed?.remove());

const listening = async (): Promise<string[]> =>
  (await command(["ss", "-Hltn"], bed.host))
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[3] ?? "")
    .filter((address) => address !== "" && !address.endsWith(":8080"))
    .sort();

const statusOf = (pid: number, field: string): string =>
  new RegExp(`^${field}:\\s*(\\S+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";

const TWO_CAPABILITIES = (1n << 39n) | (1n << 12n);
const reserved = async (): Promise<string> =>
  (await command(["sysctl", "-n", "net.ipv4.ip_local_reserved_ports"], bed.host)).trim();

test("CAP_BPF and CAP_NET_ADMIN are all it has and needs, also to take over from another", async () => {
  const place = { ...bed.host, capabilities: ["bpf", "net_admin"] };
  const { agent } = await bed.synced([], place);
  expect(BigInt(`0x${statusOf(agent.pid, "CapEff")}`)).toBe(TWO_CAPABILITIES);
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  expect(await reserved()).toBe("30080");
  await agent.stop("SIGKILL");
  const { line } = await bed.synced([], place);
  expect(line).toMatchObject({ writes: 0 });
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
});

/** Everything is mounted read-only but the pins, the run and the state directory; then the rest of the arguments runs. */
const READ_ONLY = `
bpffs=$1 run=$2 state=$3; shift 3
mount --make-rprivate /
mount --bind "$run" "$run" && mount --bind "$state" "$state"
sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .*/\\1/' /proc/self/mountinfo | sort -u | while read -r point; do
  case "$point" in "$bpffs"|"$run"|"$state") ;; *) mount -o remount,bind,ro "$point" 2>/dev/null ;; esac
done
exec "$@"
`;

test("as in a container: read-only file systems, default seccomp, no new privileges, two capabilities", async () => {
  const confine = join(bed.dir, "confine");
  const source = new URL("../support/confine.c", import.meta.url).pathname;
  execFileSync("cc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o", confine, source]);
  for (const dir of [bed.runDir, bed.stateDir]) mkdirSync(dir);
  const confined = (...argv: string[]): string[] => {
    const readOnly = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", bed.bpffs, bed.runDir, bed.stateDir];
    return [...readOnly, "setpriv", "--bounding-set=-all,+bpf,+net_admin", "--", confine, ...argv];
  };
  // What confines is there: neither a file nor a namespace can be made.
  const probe = await outcome(confined("sh", "-c", `touch /var/tmp/x ${bed.dir}/x; unshare --net true`), bed.host);
  expect(probe.stderr.match(/Read-only file system/g)).toHaveLength(2);
  expect(probe.stderr).toContain("unshare failed: Operation not permitted");

  const agent = new Daemon(confined(portolan, "run", ...bed.runFlags), join(bed.dir, "confined.log"), bed.host);
  try {
    await agent.until("in sync", () => logLines(agent).find(({ msg }) => msg === "in sync"));
    expect(BigInt(`0x${statusOf(agent.pid, "CapEff")}`)).toBe(TWO_CAPABILITIES);
    expect([statusOf(agent.pid, "NoNewPrivs"), statusOf(agent.pid, "Seccomp")]).toEqual(["1", "2"]);
    expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
    bed.manifest("web.yaml", service("web", { clusterIp: "10.96.0.81", nodePort: 30080 }), ...slice("web", [8080]));
    await eventually("the change", async () => (await call(bed.served, "10.96.0.81", 80)) === "hello" || undefined);
    // What could not be done is said, and hinders nothing.
    expect(agent.log()).toContain("ip_local_reserved_ports cannot be written");
    const { stdout } = await bed.cli("status");
    expect(stdout).toContain(`running (pid ${agent.pid})`);
    expect(stdout).toContain("ip_local_reserved_ports cannot be written");
  } finally {
    await agent.stop();
  }
});

test("kube-proxy's two ports and no other are open, and SIGUSR1 opens no debugger", async () => {
  const { agent } = await bed.synced();
  const ports = ["*:10256", "127.0.0.1:10249"];
  expect(await listening()).toEqual(ports);
  process.kill(agent.pid, "SIGUSR1");
  await sleep(300);
  expect(await listening()).toEqual(ports);
  for (const address of ["127.0.0.1", "::1", "10.77.0.1"]) {
    expect(await call(bed.host, address, 9229)).toBe("ECONNREFUSED");
  }
  expect(agent.log()).not.toContain("Debugger listening");
  // The signal's default would have ended it.
  expect(agent.exit ?? "running").toBe("running");
});

test("twin: a Node without the agent's precaution does open one", async () => {
  const other = await bed.daemon([process.execPath, "-e", "setInterval(() => {}, 1000); console.log('ready')"]);
  process.kill(other.pid, "SIGUSR1");
  await eventually("the debugger", async () => (await listening()).includes("127.0.0.1:9229") || undefined);
});

/** What changes by itself. */
const VOLATILE =
  /^(fs\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\..*)|kernel\.(ns_last_pid|pty\.nr|random\..*|sched_.*|perf_event_max_sample_rate)|net\.netfilter\.nf_conntrack_count|vm\.stat_refresh) /;

async function sysctls(): Promise<string[]> {
  const { stdout } = await outcome(["sysctl", "-a"], bed.host);
  return stdout.split("\n").filter((line) => line !== "" && !VOLATILE.test(line));
}

const changes = (before: readonly string[], after: readonly string[]): string[] =>
  after.filter((line) => !before.includes(line));

test("of all sysctls one changes while it runs, and none is another after its removal", async () => {
  const before = await sysctls();
  expect(before.length).toBeGreaterThan(500);
  const { agent } = await bed.synced();
  expect(changes(before, await sysctls())).toEqual(["net.ipv4.ip_local_reserved_ports = 30080"]);
  await agent.stop();
  expect((await bed.cli("cleanup")).code).toBe(0);
  const after = await sysctls();
  expect(changes(before, after)).toEqual([]);
  expect(after).toHaveLength(before.length);
});

test.each<[string, RegExp, () => { flags?: string[]; capabilities?: string[] }]>([
  ["CAP_BPF", /capabilities: CAP_BPF missing/, () => ({ capabilities: ["net_admin"] })],
  ["CAP_NET_ADMIN", /capabilities: CAP_NET_ADMIN missing/, () => ({ capabilities: ["bpf"] })],
  ["a bpffs", /bpffs: .* is no bpf file system/, () => ({ flags: [`--bpffs=${bed.dir}`] })],
  ["a cgroup", /cgroup: .* is no cgroup v2 directory/, () => ({ flags: [`--cgroup=${bed.dir}`] })],
])(
  "a start without %s is refused with status 78 within 2 s, by name, and nothing is installed",
  async (_, said, given) => {
    const { flags = [], capabilities } = given();
    const place = { ...bed.host, ...(capabilities === undefined ? {} : { capabilities }) };
    const { answer: agent, tookMs } = await alone(async () => {
      const started = bed.run(flags, place);
      expect(await started.exited).toEqual({ code: 78, signal: null });
      return started;
    });
    expect(tookMs).toBeLessThan(2_000);
    expect(agent.log()).toMatch(said);
    expect(bed.attached()).toEqual([]);
    expect(await reserved()).toBe("");
  },
);

test("a log that cannot be written ends nothing", async () => {
  const agent = await bed.daemon([
    "sh",
    "-c",
    'echo ready; exec "$0" "$@" >/dev/full',
    portolan,
    "run",
    ...bed.runFlags,
  ]);
  await eventually("the Service", async () =>
    (await call(bed.served, "10.96.0.80", 80)) === "hello" ? true : undefined,
  );
  bed.manifest("web.yaml", service("web", { clusterIp: "10.96.0.81" }), ...slice("web", [8080]));
  await eventually("the change", async () =>
    (await call(bed.served, "10.96.0.81", 80)) === "hello" ? true : undefined,
  );
  expect([agent.exit, agent.log()]).toEqual([undefined, "ready\n"]);
});
