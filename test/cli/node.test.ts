// SPDX-License-Identifier: Apache-2.0
// The node's own matters: NodePorts reserved and guarded, ports that are held, addresses that come and go.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AgentReport } from "../../src/agent/report.ts";
import { command, eventually } from "../support/daemon.ts";
import { ANSWER, Bed, call, logLines, outcome, service, slice } from "./bed.ts";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
});
afterEach(() => bed?.remove());

const reserved = async (): Promise<string> =>
  (await command(["sysctl", "-n", "net.ipv4.ip_local_reserved_ports"], bed.host)).trim();

/** What a process gets that binds 0.0.0.0:PORT. */
async function bind(port: number): Promise<string> {
  const text = `const s = require("node:net").createServer().on("error", (e) => console.log(e.code));
    s.listen(${port}, "0.0.0.0", () => { console.log("bound"); s.close(); });`;
  return (await outcome([process.execPath, "-e", text], bed.served)).stdout.trim();
}

const report = async (): Promise<AgentReport | null> => (await bed.json<{ agent: AgentReport | null }>("status")).agent;

test("NodePorts are reserved while a Service has them, and cannot be bound", async () => {
  bed.manifest("web.yaml", service("web", { nodePort: 40080 }), ...slice("web", [8080]));
  await bed.synced();
  expect(await reserved()).toBe("40080");
  expect(await bind(40080)).toBe("EADDRINUSE");
  expect(await bind(40081)).toBe("bound");
  expect((await report())?.reservedNodePorts).toBe(1);
  bed.manifest("web.yaml", service("web", { nodePort: 40090 }), ...slice("web", [8080]));
  await eventually("the new port", async () => ((await reserved()) === "40090" ? true : undefined));
  expect(await bind(40080)).toBe("bound");
  expect(await bind(40090)).toBe("EADDRINUSE");
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  await eventually("no port", async () => ((await reserved()) === "" ? true : undefined));
});

test("a NodePort in the ephemeral range that may not be reserved is not guarded", async () => {
  const config = join(bed.dir, "config.yaml");
  writeFileSync(config, "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nreserveNodePorts: false\n");
  bed.manifest("web.yaml", service("web", { nodePort: 40080 }), ...slice("web", [8080]));
  bed.manifest("low.yaml", service("low", { clusterIp: "10.96.0.81", nodePort: 30080 }));
  await bed.synced([`--config=${config}`]);
  expect(await reserved()).toBe("");
  expect(await bind(40080)).toBe("bound");
  expect(await bind(30080)).toBe("EADDRINUSE");
});

test("a port that a process holds already is reported, and goes on being held", async () => {
  await bed.daemon([process.execPath, "-e", ANSWER, "30080", "legacy"], bed.host);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080]));
  const { agent } = await bed.synced();
  expect(logLines(agent)).toContainEqual(expect.objectContaining({ level: "warn", port: "TCP 30080" }));
  expect((await report())?.heldNodePorts).toEqual(["TCP 30080"]);
  expect((await bed.cli("status")).stdout).toContain("NodePort TCP 30080 is held by a process of this host");
  expect(await call(bed.host, "10.77.0.1", 30080)).toBe("legacy");
  expect(await call(bed.served, "10.77.0.1", 30080)).toBe("hello");
});

test("NodePorts answer on an address as soon as a device has it, and only on those of the configuration", async () => {
  const config = join(bed.dir, "config.yaml");
  const cidrs = "nodePortAddresses: [10.77.0.0/16]\n";
  writeFileSync(config, `apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n${cidrs}`);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080]));
  await bed.synced([`--config=${config}`]);
  await command(["ip", "-n", bed.netns, "addr", "add", "10.77.5.5/32", "dev", "node0"]);
  await command(["ip", "-n", bed.netns, "addr", "add", "10.78.0.1/32", "dev", "node0"]);
  await eventually("the new address", async () =>
    (await call(bed.served, "10.77.5.5", 30080)) === "hello" ? true : undefined,
  );
  expect(await call(bed.served, "10.78.0.1", 30080)).toBe("ECONNREFUSED");
  await command(["ip", "-n", bed.netns, "addr", "del", "10.77.5.5/32", "dev", "node0"]);
  await eventually("the address gone", async () => {
    return (await bed.cli("dump", "node_addrs")).stdout.includes("10.77.5.5") ? undefined : true;
  });
});

test("a ClusterIP that a device has is left to it while it has it", async () => {
  await bed.daemon([process.execPath, "-e", ANSWER, "80", "local cache"], bed.host);
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  await bed.synced();
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  await command(["ip", "-n", bed.netns, "addr", "add", "10.96.0.80/32", "dev", "node0"]);
  await eventually("the device's", async () =>
    (await call(bed.served, "10.96.0.80", 80)) === "local cache" ? true : undefined,
  );
  await command(["ip", "-n", bed.netns, "addr", "del", "10.96.0.80/32", "dev", "node0"]);
  await eventually("ours", async () => ((await call(bed.served, "10.96.0.80", 80)) === "hello" ? true : undefined));
});

test("but not to the one that kube-proxy's ipvs mode kept all of them on", async () => {
  await bed.daemon([process.execPath, "-e", ANSWER, "80", "local cache"], bed.host);
  bed.manifest("web.yaml", service("web"), ...slice("web", [8080]));
  const ipvs = "link add kube-ipvs0 type bridge\naddr add 10.96.0.80/32 dev kube-ipvs0\n";
  await command(["ip", "-batch", "-"], bed.host, ipvs);
  await bed.synced();
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  expect((await report())?.deviceAddresses).not.toContain("10.96.0.80");
  await command(["ip", "-batch", "-"], bed.host, `link del kube-ipvs0\n${ipvs}addr add 10.79.0.9/32 dev node0\n`);
  await eventually("the other device's address", async () =>
    (await report())?.deviceAddresses.includes("10.79.0.9") ? true : undefined,
  );
  expect((await report())?.deviceAddresses).not.toContain("10.96.0.80");
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
});

test("more address changes than the kernel keeps for a stalled agent", async () => {
  const { agent } = await bed.synced();
  process.kill(agent.pid, "SIGSTOP");
  const addresses = Array.from({ length: 2_000 }, (_, i) => `10.79.${i >> 8}.${i & 255}`);
  const batch = addresses.map((address) => `addr add ${address}/32 dev node0`).join("\n");
  await command(["ip", "-batch", "-"], bed.host, batch);
  process.kill(agent.pid, "SIGCONT");
  await eventually("all of them", async () => ((await report())?.deviceAddresses.length === 2_002 ? true : undefined));
  expect(agent.exit ?? "running").toBe("running");
});
