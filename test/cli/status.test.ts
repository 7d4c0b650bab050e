// SPDX-License-Identifier: Apache-2.0
// status, get and dump: the same rows from a living agent and from a dead one, and whose they are; and what is wrong.

import { chmodSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import { command, eventually } from "../support/daemon.ts";
import { ANSWER, Bed, call, outcome, portolan, service, slice } from "./bed.ts";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080, 8081]));
});
afterEach(() => bed?.remove());

interface Status {
  readonly readFrom: string;
  readonly agent: AgentReport | null;
  readonly datapath: { readonly units: number; readonly hooks: readonly { readonly attached: boolean }[] } | null;
}

test("alive and dead say the same of what is programmed, and which it was", async () => {
  const { agent } = await bed.synced();
  const alive = await bed.json<Status>("status");
  expect(alive).toMatchObject({ readFrom: "agent", agent: { pid: agent.pid, synced: true, problems: [] } });
  const rows = [];
  for (const what of ["services", "frontends", "backends"]) rows.push((await bed.cli("get", what)).stdout);
  expect(rows).toMatchInlineSnapshot(`
    [
      "SERVICE       PROTOCOL   FAMILY   FRONTENDS               ENDPOINTS   LOCAL   CONNECTIONS   STATE
    default/web   TCP        IPv4     10.96.0.80:80,*:30080   2           0       0             programmed
    ",
      "ADDRESS      PORT    PROTOCOL   ROLE        SERVICE
    10.96.0.80   80      TCP        clusterIP   default/web
    *            30080   TCP        nodePort    default/web
    ",
      "ADDRESS     PORT   PROTOCOL   SERVICE       SETS      SERVING   CONNECTIONS
    10.77.0.1   8080   TCP        default/web   cluster   yes       0
    10.77.0.1   8081   TCP        default/web   cluster   yes       0
    ",
    ]
  `);
  expect((await bed.cli("get", "services")).stderr).toBe(`# the agent is running (pid ${agent.pid})\n`);

  await agent.stop("SIGKILL");
  const dead = await bed.json<Status>("status");
  expect(dead).toMatchObject({ readFrom: "pins", agent: null, datapath: alive.datapath });
  expect(dead.datapath?.hooks.filter(({ attached }) => attached)).toHaveLength(11);
  for (const [i, what] of ["services", "frontends", "backends"].entries()) {
    const { stdout, stderr } = await bed.cli("get", what);
    expect(stdout).toBe(rows[i]);
    expect(stderr).toBe("# no agent is running: read from the pinned maps\n");
  }
  expect((await bed.cli("status")).stdout).toMatch(
    /no agent is running: read from the pinned maps[\s\S]*11 of 11 programs attached/,
  );
});

test("outputs: JSON, YAML, wide, without headers", async () => {
  await bed.synced();
  const { items } = await bed.json<{ items: object[] }>("get", "services");
  expect(items).toEqual([expect.objectContaining({ service: "default/web", protocol: "TCP", endpoints: 2 })]);
  expect((await bed.cli("get", "services", "-o", "yaml")).stdout).toMatch(
    /^readFrom: agent\nitems:\n {2}- service: default\/web\n/,
  );
  expect((await bed.cli("get", "services", "-o", "wide")).stdout).toMatch(/^SERVICE .* ID +ANSWER/);
  expect((await bed.cli("get", "services", "--no-headers")).stdout).toMatch(/^default\/web /);
});

test("dump decodes every map; a name that is none is wrong usage", async () => {
  await bed.synced();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  await bed.daemon([process.execPath, "-e", ANSWER, "8081", "hello"], bed.served);
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  for (const map of [
    "frontends",
    "services",
    "slots",
    "backends",
    "active",
    "sockets",
    "udp_peers",
    "affinity",
    "pt_names",
  ]) {
    expect((await bed.cli("dump", map)).code).toBe(0);
  }
  expect((await bed.cli("dump", "frontends")).stdout).toMatch(/^10\.96\.0\.80 +80 +TCP +\d+ +cluster_ip$/m);
  expect((await bed.cli("dump", "node_addrs")).stdout).toMatch(/^fd00:77::1 +mine,node_port$/m);
  expect((await bed.cli("dump", "stats")).stdout).toMatch(/^connect +1$/m);
  const { code, stderr } = await bed.cli("dump", "nonsense");
  expect([code, stderr.split(";")[0]]).toEqual([2, 'portolan: dump: no map "nonsense"']);
});

test("nothing pinned: status and get say so", async () => {
  const status = await bed.cli("status");
  expect(status.code).toBe(1);
  expect(status.stdout).toContain("nothing is pinned");
  const { code, stderr } = await bed.cli("get", "services");
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^portolan: nothing is pinned in .*\n$/)]);
});

test("a broken file is reported with line and reason; what it held stays until it is mended or removed", async () => {
  const { agent } = await bed.synced();
  const file = join(bed.manifests, "web.yaml");
  writeFileSync(file, "apiVersion: v1\nkind: Service\nmetadata: {name: [\n");
  const status = await eventually("the problem", async () => {
    const now = await bed.json<Status>("status");
    return (now.agent?.problems.length ?? 0) > 0 ? now : undefined;
  });
  expect(status.agent?.problems[0]).toMatchObject({
    kind: "File",
    key: expect.stringContaining("web.yaml"),
    field: expect.stringMatching(/^line \d/),
  });
  expect((await bed.cli("status")).stdout).toMatch(/NOT ACCEPTED +NAME +FIELD +REASON\nFile +.*web\.yaml +line \d/);
  expect((await bed.cli("status", "--no-headers")).stdout).toMatch(/\n\nFile +.*web\.yaml +line \d/);
  expect((await bed.json<{ items: object[] }>("get", "services")).items).toHaveLength(1);
  // A restart does not forget it either.
  await agent.stop("SIGKILL");
  await bed.synced();
  expect((await bed.json<{ items: object[] }>("get", "services")).items).toHaveLength(1);
  bed.manifest("web.yaml", service("other", { clusterIp: "10.96.0.81" }));
  await eventually("the mended file", async () => {
    const { items } = await bed.json<{ items: { service: string }[] }>("get", "services");
    return items.length === 1 && items[0]?.service === "default/other" ? true : undefined;
  });
  expect((await bed.json<Status>("status")).agent?.problems).toEqual([]);
});

test("a Service that does not fit is named, and programmed when there is room", async () => {
  const config = join(bed.dir, "config.yaml");
  writeFileSync(config, "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nmapSizes: {backends: 4}\n");
  await bed.synced([`--config=${config}`]);
  bed.manifest("big.yaml", service("big", { clusterIp: "10.96.0.90" }), ...slice("big", [1, 2, 3, 4]));
  const pending = await eventually(
    "pending",
    async () => (await bed.json<Status>("status")).agent?.programmer.pending[0],
  );
  expect(pending).toMatchObject({ key: "default/big/TCP/4", action: "program" });
  expect((await bed.cli("status")).stdout).toMatch(/PENDING +REASON\ndefault\/big\/TCP\/4 +pt_backends/);
  expect((await bed.cli("get", "services")).stdout).toMatch(/^default\/big .* pending$/m);
  expect((await bed.cli("get", "services")).stdout).toMatch(/^default\/web .* programmed$/m);
  bed.manifest("big.yaml", service("big", { clusterIp: "10.96.0.90" }), ...slice("big", [1]));
  await eventually("programmed", async () => {
    return (await bed.cli("get", "services")).stdout.match(/^default\/big .* programmed$/m) ? true : undefined;
  });
});

test("the control socket is root's alone", async () => {
  await bed.synced();
  expect(statSync(join(bed.runDir, "portolan.sock")).mode & 0o777).toBe(0o600);
  expect(statSync(bed.runDir).mode & 0o777).toBe(0o750);
  const text = `require("node:net").connect("${bed.runDir}/portolan.sock").on("error", (error) => console.log(error.code))`;
  const user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"];
  const { stdout } = await outcome([...user, process.execPath, "-e", text]);
  expect(stdout.trim()).toBe("EACCES");
});

test("two capabilities are enough to read what a dead agent left", async () => {
  const { agent } = await bed.synced();
  const place = { ...bed.host, capabilities: ["bpf", "net_admin"] };
  const read = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await outcome([portolan, ...args, ...bed.where], place);
    expect([code, stderr]).toEqual([0, expect.not.stringContaining("portolan:")]);
    return stdout;
  };
  expect(await read("get", "services")).toContain("default/web");
  await agent.stop("SIGKILL");
  expect(await read("get", "backends")).toContain("8081");
  expect(await read("status")).toMatch(/1 units, 3 frontends, 2 backends; 11 of 11 programs attached/);
  expect(await read("dump", "frontends")).toContain("10.96.0.80");
});

test("an agent that does not answer, pins that are gone, pins that may not be seen", async () => {
  const { agent } = await bed.synced();
  // The checkout may lie where nobody may look.
  await using tree = await mkdtempDisposable(join(tmpdir(), "portolan-tree-"));
  chmodSync(tree.path, 0o755);
  await command(["scripts/install.sh", tree.path]);
  const nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--", join(tree.path, "bin/portolan")];
  const denied = await outcome([...nobody, "status", `--bpffs=${bed.bpffs}`, "--run-dir=/nowhere"], bed.host);
  expect([denied.code, denied.stderr]).toEqual([
    1,
    expect.stringMatching(/^portolan: EACCES: permission denied.*: run it as root$/m),
  ]);
  process.kill(agent.pid, "SIGSTOP");
  const [status, cleanup] = await Promise.all([bed.cli("status"), bed.cli("cleanup")]);
  expect([status.code, status.stdout]).toEqual([0, expect.stringContaining("did not answer in 5000 ms: read from")]);
  expect([cleanup.code, cleanup.stderr]).toEqual([1, expect.stringMatching(/did not answer in 5000 ms\n$/)]);
  await agent.stop("SIGKILL");
  unlinkSync(join(bed.pins, "maps", "pt_names"));
  const { code, stderr } = await bed.cli("get", "services");
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^portolan: pt_names not pinned in .*: the next agent/)]);
});
