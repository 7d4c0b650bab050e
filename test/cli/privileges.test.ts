// SPDX-License-Identifier: Apache-2.0
// As little as possible: two capabilities, no listening port, no debugger.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { command, eventually } from "../support/daemon.ts";
import { ANSWER, Bed, call, portolan, service, slice } from "./bed.ts";

let bed: Bed;
beforeEach(async () => {
  bed = await Bed.create();
  await bed.daemon([process.execPath, "-e", ANSWER, "8080", "hello"], bed.served);
  bed.manifest("web.yaml", service("web", { nodePort: 30080 }), ...slice("web", [8080]));
});
afterEach(() => bed?.remove());

const listening = async (): Promise<string[]> =>
  (await command(["ss", "-Hltnup"], bed.host)).split("\n").filter((line) => line !== "" && !line.includes(":8080"));

test("CAP_BPF and CAP_NET_ADMIN are all it has and needs, also to take over from another", async () => {
  const place = { ...bed.host, capabilities: ["bpf", "net_admin"] };
  const { agent } = await bed.synced([], place);
  const held = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1];
  expect(BigInt(`0x${held}`)).toBe((1n << 39n) | (1n << 12n));
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
  expect((await command(["sysctl", "-n", "net.ipv4.ip_local_reserved_ports"], bed.host)).trim()).toBe("30080");
  await agent.stop("SIGKILL");
  const { line } = await bed.synced([], place);
  expect(line).toMatchObject({ writes: 0 });
  expect(await call(bed.served, "10.96.0.80", 80)).toBe("hello");
});

test("no port is opened, and SIGUSR1 opens no debugger", async () => {
  const { agent } = await bed.synced();
  expect(await listening()).toEqual([]);
  process.kill(agent.pid, "SIGUSR1");
  await sleep(300);
  expect(await listening()).toEqual([]);
  expect(agent.log()).not.toContain("Debugger listening");
  // The signal's default would have ended it.
  expect(agent.exit ?? "running").toBe("running");
});

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
