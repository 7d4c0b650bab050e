// SPDX-License-Identifier: Apache-2.0
// portolan takes the place of the real kube-proxy on a node with its configuration and its account, and gives it back:
// processes of the node and of its pods call all the while, and no call fails.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command, type Daemon, eventually } from "../support/daemon.ts";
import { Bed } from "./bed.ts";
import { proxyConfiguration, removeRules, startKubeProxy } from "./kube-proxy.ts";
import { service, servicePort, slices } from "./objects.ts";

const web = { host: "10.96.0.80", port: servicePort.TCP } as const;
const clusterIPs = { ip: web.host, ip6: "fd00:96::80" } as const;
const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

let bed: Bed;
const proxies: Daemon[] = [];

beforeAll(async () => {
  bed = await Bed.create({ pods: 2 });
  await bed.plane.apply(service("web", { clusterIP: web.host, clusterIPs: Object.values(clusterIPs) }));
  await bed.plane.apply(...slices("web", bed.hosts));
});

afterAll(async () => {
  for (const proxy of proxies) await proxy.stop("SIGKILL");
  await bed?.remove();
});

/** Until its rules have the Service. */
async function kubeProxyInSync(): Promise<Daemon> {
  const proxy = await startKubeProxy(bed);
  proxies.push(proxy);
  for (const [family, address] of Object.entries(clusterIPs)) {
    await eventually(`kube-proxy's rules for ${address}`, async () => {
      const rules = await command(["nft", "list", "table", family, "kube-proxy"], bed.node);
      return rules.includes(address) || undefined;
    });
  }
  return proxy;
}

/** No call of the node or of a pod fails meanwhile, and both pods answer. */
async function underLoad(act: () => Promise<void>): Promise<void> {
  const callers = [bed.process, bed.pod(1)];
  for (const caller of callers) await caller.startLoad(web);
  await act();
  for (const caller of callers) {
    const { answers, errors } = await caller.stopLoad();
    expect([caller.name, errors, Object.keys(answers).sort()]).toEqual([caller.name, {}, ["pod1", "pod2"]]);
  }
}

test("from kube-proxy to portolan: no call fails, and what it left is told and hinders nothing", async () => {
  const proxy = await kubeProxyInSync();
  await underLoad(async () => {
    await proxy.stop("SIGTERM");
    const { warnings } = await bed.startAgent({ config: proxyConfiguration(bed) }).inSync();
    expect(warnings.some((text) => text.startsWith("leftovers: nftables: table ip kube-proxy"))).toBe(true);
  });
  // With the node's last NAT rules goes the translation of connections that they made: not under load.
  await removeRules(bed);
  await bed.reaches(bed.process, web, bed.pods);
});

test("and back: kube-proxy works beside it, and answers when it is cleaned up", async () => {
  await underLoad(async () => {
    await kubeProxyInSync();
    await bed.agent.daemon.stop("SIGTERM");
    const where = [
      `--bpffs=${bed.bpffs}`,
      `--run-dir=${join(bed.dir, "run")}`,
      `--state-dir=${join(bed.dir, "state")}`,
    ];
    const said = await command([portolan, "cleanup", ...where], { netns: bed.node.netns });
    expect(said).toContain(`removed ${bed.bpffs}/portolan/v1/links/pt_connect4\n`);
  });
  for (const caller of [bed.process, bed.pod(1)]) {
    const { answers, errors } = await caller.call({ ...web, times: 24 });
    expect([errors, Object.keys(answers).sort()]).toEqual([{}, ["pod1", "pod2"]]);
  }
});
