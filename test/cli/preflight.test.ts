// SPDX-License-Identifier: Apache-2.0
// What preflight finds: quickly, with a way to mend it, and without leaving anything behind.

import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { seesEveryProcess } from "../../src/node/netns.ts";
import { alone } from "../support/contention.ts";
import { command } from "../support/daemon.ts";
import { Bed, outcome, portolan } from "./bed.ts";

interface Finding {
  readonly check: string;
  readonly result: string;
  readonly found: string;
  readonly why: string;
  readonly mend: string | null;
}

let bed: Bed;
beforeAll(async () => {
  bed = await Bed.create();
});
afterAll(() => bed?.remove());

const flags = (): string[] => [`--bpffs=${bed.bpffs}`, `--cgroup=${bed.cgroup}`, "--source=dir:/none"];

async function findings(code: number, args = flags(), capabilities?: readonly string[]): Promise<Map<string, Finding>> {
  const place = { ...bed.host, ...(capabilities ? { capabilities } : {}) };
  const { code: status, stdout, stderr } = await outcome([portolan, "preflight", "-o", "json", ...args], place);
  expect(stderr).toBe("");
  const report = JSON.parse(stdout) as { ready: boolean; findings: Finding[] };
  expect([status, report.ready]).toEqual([code, code === 0]);
  for (const { result, why, mend } of report.findings) {
    expect(why).not.toBe("");
    expect(mend === null).toBe(result === "ok");
  }
  return new Map(report.findings.map((finding) => [finding.check, finding]));
}

test("a node that is ready: in less than 2 s, nothing left behind", async () => {
  const { answer: found, tookMs } = await alone(() => findings(0));
  expect(tookMs).toBeLessThan(2_000);
  expect([...found.keys()]).toEqual([
    "kernel",
    "capabilities",
    "bpffs",
    "pins",
    "cgroup",
    "programs",
    "dead peers",
    "other proxies",
    "reserved ports",
  ]);
  expect(found.get("programs")?.found).toMatch(/^accepted, \d{4,} instructions verified/);
  expect(readdirSync(bed.bpffs).filter((name) => !name.endsWith(".debug"))).toEqual([]);
  expect(bed.attached()).toEqual([]);
});

test("in words, for people", async () => {
  const { code, stdout } = await outcome([portolan, "preflight", ...flags()], bed.host);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ok {7}kernel +Linux /);
  expect(stdout).toMatch(/This node can run portolan\.\n$/);
});

test("the machine's whole cgroup tree is found without a flag", async () => {
  const found = await findings(0, [`--bpffs=${bed.bpffs}`, "--source=dir:/none"]);
  expect(found.get("cgroup")?.found).toContain(bed.cgroup.slice(0, bed.cgroup.lastIndexOf("/")));
});

test("no bpffs, no cgroup v2", async () => {
  const found = await findings(78, [`--bpffs=${bed.dir}`, `--cgroup=${bed.dir}`, "--source=dir:/none"]);
  expect(found.get("bpffs")?.mend).toContain(`mount -t bpf -o mode=0700 bpf ${bed.dir}`);
  expect(found.get("cgroup")?.found).toBe(`${bed.dir} is no cgroup v2 directory`);
  expect(found.get("other proxies")?.found).toBe("none is running");
});

test("the two capabilities are enough, without one of them it says which", async () => {
  const two = await findings(0, flags(), ["bpf", "net_admin"]);
  const best = await findings(0, flags());
  expect(two.get("dead peers")?.found).toMatch(
    /^sockets of the host are ended by sock_diag, of pods told by failing sends \(/,
  );
  expect(two.get("dead peers")?.found).toContain("CAP_SYS_ADMIN is missing");
  const hidden = seesEveryProcess() ? "" : " (pods are found by /run/netns alone: no hostPID)";
  expect(best.get("dead peers")?.found).toBe(`sockets are ended by iterators${hidden}`);
  const found = await findings(78, flags(), ["net_admin"]);
  expect(found.get("capabilities")?.found).toBe("CAP_BPF missing");
  expect(found.get("programs")?.result).toBe("refused");
});

test("what a deleted kube-proxy left is a warning with the command that removes it, and that does", async () => {
  const rules = "add table ip kube-proxy; add table ip6 kube-proxy; add table ip nat; add chain ip nat KUBE-SERVICES";
  await command(["nft", rules], bed.host);
  // As long as it runs they are its own.
  const proxy = await bed.kubeProxy(["bash", "-c", "echo ready; exec -a kube-proxy sleep 600"]);
  expect([...(await findings(78)).keys()]).not.toContain("leftovers");
  await proxy.stop("SIGKILL");
  const { stdout } = await outcome([portolan, "preflight", "-o", "json", ...flags()], bed.host);
  const leftovers = (JSON.parse(stdout) as { findings: Finding[] }).findings.filter(
    ({ check }) => check === "leftovers",
  );
  expect(leftovers.map(({ result, found }) => [result, found])).toEqual([
    ["warning", "nftables: table ip kube-proxy, ip6 kube-proxy"],
    ["warning", "KUBE-SERVICES chains in ip nat"],
  ]);
  // The program of that name on this PATH may be portolan.
  expect(leftovers[1]?.mend).toContain("Kubernetes' own kube-proxy");
  await command(["sh", "-c", `${leftovers[0]?.mend}; nft delete table ip nat`], bed.host);
  expect([...(await findings(0)).keys()]).not.toContain("leftovers");
});

/** Preflight in a container that sees nothing but its own part of the cgroup tree; `script` runs "$@" there. */
async function inContainer(unshare: readonly string[], script: string): Promise<[number, Finding | undefined]> {
  const dir = join(bed.dir, `cgroup-${script.length}`);
  mkdirSync(dir);
  const prepare = `awk '/ - cgroup2 /{print $5}' /proc/self/mountinfo | while read -r dir; do umount -l "$dir"; done; mount -t cgroup2 none ${dir}`;
  const shell = ["unshare", "--mount", "--cgroup", ...unshare, "--", "sh", "-c", `${prepare}; ${script}`, "sh"];
  const { code, stdout } = await outcome(
    [...shell, portolan, "preflight", "-o", "json", `--bpffs=${bed.bpffs}`],
    bed.served,
  );
  return [code, (JSON.parse(stdout) as { findings: Finding[] }).findings.find(({ check }) => check === "cgroup")];
}

test("a container that sees only its own cgroup would serve nobody else: refused under strict", async () => {
  const [code, finding] = await inContainer([], '"$@"');
  expect([code, finding?.result]).toEqual([78, "strict"]);
  expect(finding?.found).toMatch(/only processes below .* are served/);
  const [alone, own] = await inContainer(["--pid", "--fork", "--mount-proc"], 'exec "$@" # is PID 1 itself');
  expect([alone, own?.result]).toEqual([78, "strict"]);
});

test("a node that is a container: the root of the cgroup namespace of its PID 1 counts", async () => {
  const [code, finding] = await inContainer(["--pid", "--fork", "--mount-proc"], '"$@"; exit $?');
  expect([code, finding?.result]).toEqual([0, "ok"]);
  expect(finding?.found).toMatch(/in which PID 1 lives/);
});

/** For `node -e`: answers every request with this status and a Status object of the API server's. */
const REFUSE = `
const [port, status, message] = process.argv.slice(1);
require("node:http").createServer((_, response) => {
  response.writeHead(Number(status)).end(JSON.stringify({ kind: "Status", message, items: [] }));
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
`;

test("the API server: shown, refused, away; none of it hinders a start", async () => {
  const answers = [
    ["8101", "200", "", /^http:\/\/127\.0\.0\.1:8101 shows them$/],
    ["8102", "401", "Unauthorized", /:8102 refuses \(Unauthorized\): 401 Unauthorized$/],
    ["8103", "403", "services is forbidden", /:8103 refuses \(Forbidden\): 403 services is forbidden$/],
    ["8104", "500", "boom", /:8104 fails: 500 boom$/],
  ] as const;
  const where = [`--bpffs=${bed.bpffs}`, `--cgroup=${bed.cgroup}`];
  const api = async (master: string) => (await findings(0, [...where, `--master=${master}`])).get("API server");
  for (const [port, status, message, found] of answers) {
    await bed.daemon([process.execPath, "-e", REFUSE, port, status, message]);
    const finding = await api(`127.0.0.1:${port}`);
    expect([finding?.result, finding?.found]).toEqual([
      status === "200" ? "ok" : "warning",
      expect.stringMatching(found),
    ]);
  }
  expect((await api("127.0.0.1:8105"))?.found).toMatch(/:8105 cannot be reached: connection refused$/);
  const none = (await findings(0, where)).get("API server");
  expect([none?.result, none?.found]).toEqual(["warning", expect.stringMatching(/^no kubeconfig: none was given/)]);
});
