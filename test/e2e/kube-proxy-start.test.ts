// SPDX-License-Identifier: Apache-2.0
// The command and the ConfigMap of kubeadm's kube-proxy, as they are, against a real API server: only the place of the
// mounts differs, and what a test must not share with the machine.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command, Daemon, eventually } from "../support/daemon.ts";
import { askRaw } from "../support/raw-http.ts";
import { HEADER, KUBEADM } from "../unit/config/kube-proxy/cases.ts";
import { Bed } from "./bed.ts";
import { service, servicePort, slices } from "./objects.ts";

const web = { host: "10.96.0.80", port: servicePort.TCP } as const;

interface Kubeconfig {
  readonly clusters: readonly { readonly cluster: Readonly<Record<string, string>> }[];
  readonly users: readonly { readonly user: Readonly<Record<string, string>> }[];
}

const portolan = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

let bed: Bed;
let proxy: Daemon | undefined;

beforeAll(async () => {
  bed = await Bed.create({ pods: 1 });
  await bed.plane.apply(service("web", { clusterIP: web.host, clusterIPs: [web.host, "fd00:96::80"] }));
  await bed.plane.apply(...slices("web", bed.hosts));
});

afterAll(async () => {
  await proxy?.stop("SIGKILL");
  await bed?.remove();
});

/** The ConfigMap as a volume, and the service account's files, below one folder. */
function mounts(): string {
  const volume = join(bed.dir, "kube-proxy");
  const account = join(bed.dir, "serviceaccount");
  const known = JSON.parse(readFileSync(bed.plane.agentKubeconfig, "utf8")) as Kubeconfig;
  const cluster = known.clusters[0]?.cluster ?? {};
  for (const dir of [join(volume, "..2026"), account]) mkdirSync(dir, { recursive: true });
  writeFileSync(join(account, "ca.crt"), Buffer.from(cluster["certificate-authority-data"] ?? "", "base64"));
  writeFileSync(join(account, "token"), known.users[0]?.user["token"] ?? "");
  const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority: ${account}/ca.crt
    server: ${cluster["server"]}
  name: default
contexts:
- context:
    cluster: default
    namespace: default
    user: default
  name: default
current-context: default
users:
- name: default
  user:
    tokenFile: ${account}/token
`;
  writeFileSync(join(volume, "..2026", "kubeconfig.conf"), kubeconfig);
  writeFileSync(join(volume, "..2026", "config.conf"), KUBEADM.replace("/var/lib/kube-proxy", volume));
  symlinkSync("..2026", join(volume, "..data"));
  for (const name of ["config.conf", "kubeconfig.conf"]) symlinkSync(`..data/${name}`, join(volume, name));
  return volume;
}

/** What a test must not share with the machine. */
const own = (): string[] => [
  `--bpffs=${bed.bpffs}`,
  `--cgroup=${bed.cgroup}`,
  `--run-dir=${bed.dir}/run`,
  `--state-dir=${bed.dir}/state`,
];
const place = () => ({ netns: bed.node.netns, cgroup: bed.system });

/** An agent beside no kubeconfig that it could find by itself. */
function alone(log: string, ...flags: string[]): Daemon {
  const argv = ["env", "-u", "KUBECONFIG", `HOME=${bed.dir}/nobody`, portolan, "run", "--hostname-override=node1"];
  proxy = new Daemon([...argv, ...flags, ...own()], join(bed.dir, log), place());
  return proxy;
}

const status = (): Promise<string> =>
  command([portolan, "status", `--bpffs=${bed.bpffs}`, `--run-dir=${bed.dir}/run`], place());

test("kubeadm's DaemonSet command serves, answers its probes' ports, and dies of SIGTERM with the datapath in place", async () => {
  const program = join(bed.dir, "kube-proxy-bin");
  mkdirSync(program);
  symlinkSync(portolan, join(program, "kube-proxy"));
  const argv = [join(program, "kube-proxy"), `--config=${mounts()}/config.conf`, "--hostname-override=node1"];
  const daemon = new Daemon([...argv, ...own()], join(bed.dir, "kube-proxy.log"), place());
  proxy = daemon;
  await daemon.until("in sync", () => (daemon.log().includes('portolan] "in sync"') ? true : undefined));
  await bed.reaches(bed.process, web, bed.pods);
  const ask = (port: number, line: string) => ({ host: "127.0.0.1", port, line });
  const [health, configz] = await askRaw({ netns: bed.node.netns }, [
    ask(10_256, "GET /healthz"),
    ask(10_249, "GET /configz"),
  ]);
  expect(health).toMatch(/^HTTP\/1\.1 200 /);
  expect(configz).toContain('"mode":"iptables"');
  expect(await daemon.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  await bed.reaches(bed.process, web, bed.pods);
});

test("--master without any kubeconfig: that server alone, asked without a login", async () => {
  const serve = [...bed.plane.kubectlCommand(["proxy", "--port=8001"]), "--disable-filter"];
  const server = new Daemon(serve, join(bed.dir, "master.log"), place());
  try {
    await server.until("listens", () => (server.log().includes("Starting to serve") ? true : undefined));
    const agent = alone("master-agent.log", "--master=127.0.0.1:8001");
    await agent.until("in sync", () => (agent.log().includes('"in sync"') ? true : undefined));
    await bed.reaches(bed.process, web, bed.pods);
    expect(await status()).toContain("kubernetes (http://127.0.0.1:8001): synced");
    await agent.stop("SIGTERM");
  } finally {
    await server.stop("SIGKILL");
  }
});

test("a login that is turned away is no outage, in the log and in status; and status says what a start waits for", async () => {
  const kubeconfig = join(bed.dir, "stranger.kubeconfig");
  writeFileSync(kubeconfig, readFileSync(bed.plane.agentKubeconfig, "utf8").replace(/"token":"[^"]+"/, '"token":"x"'));
  const config = join(bed.dir, "stranger.conf");
  writeFileSync(config, `${HEADER}clientConnection: {kubeconfig: ${kubeconfig}}\n`);
  const agent = alone("stranger.log", `--config=${config}`);
  const told = "the API server refuses: Unauthorized: serving what was pinned by the agent before";
  await agent.until("says who refuses", () => (agent.log().includes(told) ? true : undefined));
  const said = await eventually("status says it", async () => {
    const text = await status();
    return text.includes("API server refuses (Unauthorized) since") ? text : undefined;
  });
  const waiting = /in sync +not yet: waiting for the Node object node1, and its address, for \d+ s of 30 s; serving/;
  // A slow machine may have come here later than that.
  if (!agent.log().includes("going on without")) expect(said).toMatch(waiting);
  expect(said).not.toContain("unreachable");
  await bed.reaches(bed.process, web, bed.pods);
  await agent.stop("SIGTERM");
});
