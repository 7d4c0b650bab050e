// SPDX-License-Identifier: Apache-2.0
// An agent, the API server that feeds it, and what can be asked of both: the parts of every control-plane benchmark.

import type { AgentReport } from "../src/agent/report.ts";
import type { Daemon } from "../test/support/daemon.ts";
import { AgentHome, inSync } from "./agent.ts";
import { ApiServer } from "./api-server.ts";
import type { Bed } from "./bed.ts";
import type { Observer } from "./observer.ts";
import type { BenchService } from "./services.ts";

export interface Scene {
  readonly bed: Bed;
  readonly home: AgentHome;
  readonly api: ApiServer;
  readonly source: readonly string[];
}

export async function scene(bed: Bed, label: string, services: readonly BenchService[]): Promise<Scene> {
  const api = await ApiServer.start(services);
  bed.atClose(() => api.close());
  const kubeconfig = bed.write(
    `${label}.kubeconfig`,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "bench", cluster: { server: api.url } }],
      users: [{ name: "bench", user: { token: "bench" } }],
      contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
      "current-context": "bench",
    }),
  );
  const home = await AgentHome.make(bed, { label, node: null, cgroup: bed.cgroup(label) });
  return { bed, home, api, source: [`--kubeconfig=${kubeconfig}`] };
}

/** What the agent says of itself. */
export async function report(home: AgentHome): Promise<AgentReport> {
  const { agent } = (await home.status()) as { agent: AgentReport | null };
  if (agent === null) throw new Error("the agent does not answer");
  return agent;
}

export interface Started {
  readonly agent: Daemon;
  /** From the start of the process to "in sync". */
  readonly seconds: number;
  /** Of it writing to the kernel, by its own clock. */
  readonly writeMs: number;
}

/** Starts the agent and waits until it is in sync. */
export async function start({ home, source }: Scene): Promise<Started> {
  const started = performance.now();
  const agent = home.start(source);
  const said = await inSync(agent);
  return { agent, seconds: (performance.now() - started) / 1000, writeMs: Number(said["writeMs"]) };
}

/** That the kernel has these Services with exactly their endpoints. */
export function expectEverything(observer: Observer, services: readonly BenchService[]): void {
  const units = observer.units();
  if (units !== services.length) throw new Error(`${units} units in the kernel, not ${services.length}`);
  for (const service of services) {
    const seen = observer.endpoints(observer.serviceId(service)).sort().join();
    const wanted = service.endpoints
      .map((address) => `${address}:${service.targetPort}`)
      .sort()
      .join();
    if (seen !== wanted) throw new Error(`${service.name}: the kernel has ${seen}, not ${wanted}`);
  }
}
