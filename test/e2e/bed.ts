// SPDX-License-Identifier: Apache-2.0
// The ground an e2e test stands on: one node with pods, a real control plane on it, a cgroup and a bpffs of its own, and
// the real agent. Everything that was made is removed again, in the reverse order, also when making it failed.

import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findCgroup } from "../../src/node/cgroup.ts";
import { command, eventually } from "../support/daemon.ts";
import { ControlPlane } from "../support/kube.ts";
import { type Host, NodeNamespace } from "../support/netns.ts";
import { Agent, type AgentOptions } from "./agent.ts";
import { type Call, type Calls, Pod, type Tally } from "./pod.ts";

/** After an outage: longer than the longest wait before another try, and what a slow machine makes of it. */
const PATIENCE_MS = 150_000;

export interface BedOptions {
  /** Pods to start, each serving on podPort. */
  readonly pods: number;
  /** Run the real kube-controller-manager too. Default: false. */
  readonly controllers?: boolean;
}

export class Bed {
  readonly dir = mkdtempSync(join(tmpdir(), "portolan-e2e-"));
  readonly bpffs = join(this.dir, "bpf");
  /** The node's root: `system` and `kubepods` are below it, the agent attaches to it. */
  readonly cgroup = join(findCgroup()?.dir ?? "", `portolan-e2e-${process.pid}`);
  readonly pods: Pod[] = [];
  readonly agents: Agent[] = [];
  readonly #undo = new AsyncDisposableStack();
  #node: NodeNamespace | undefined;
  #plane: ControlPlane | undefined;
  #process: Pod | undefined;

  /** Makes everything but the agent; the API server knows node1, and nothing translates Service addresses yet. */
  static async create(options: BedOptions): Promise<Bed> {
    const bed = new Bed();
    try {
      await bed.#setUp(options);
    } catch (error) {
      await bed.remove();
      throw error;
    }
    return bed;
  }

  get node(): NodeNamespace {
    return made(this.#node);
  }

  get plane(): ControlPlane {
    return made(this.#plane);
  }

  /** A client in the host's network namespace of the node. */
  get process(): Pod {
    return made(this.#process);
  }

  get system(): string {
    return join(this.cgroup, "system");
  }

  get kubepods(): string {
    return join(this.cgroup, "kubepods");
  }

  async #setUp({ pods, controllers = false }: BedOptions): Promise<void> {
    this.#undo.defer(() => rmSync(this.dir, { recursive: true, force: true }));
    await this.#makeKernelObjects();
    const node = await NodeNamespace.create("pt-e2e");
    this.#node = node;
    this.#undo.defer(() => node.remove());
    const place = { netns: node.netns, cgroup: this.system };
    const plane = await ControlPlane.start({ dir: join(this.dir, "kube"), controllers, address: node.ipv4, place });
    this.#plane = plane;
    this.#undo.defer(() => plane.stop());
    await this.#registerNode();
    this.#process = await Pod.start("process", node, { serves: false, place });
    this.#undo.defer(() => this.process.stop());
    for (let n = 1; n <= pods; n++) await this.#startPod(`pod${n}`);
  }

  async #makeKernelObjects(): Promise<void> {
    const cgroups = [this.cgroup, this.system, this.kubepods];
    for (const directory of cgroups) {
      mkdirSync(directory);
      // A process that has just ended keeps its cgroup busy for a moment.
      this.#undo.defer(async () => {
        await eventually(`rmdir ${directory}`, () => {
          rmdirSync(directory);
          return true;
        });
      });
    }
    mkdirSync(this.bpffs);
    await command(["mount", "-t", "bpf", "-o", "mode=0700", "portolan-e2e", this.bpffs]);
    this.#undo.defer(async () => {
      await command(["umount", this.bpffs]);
    });
  }

  async #registerNode(): Promise<void> {
    const { ipv4, ipv6 } = this.node;
    const podCIDRs = this.node.podPrefixes.map((prefix) => (prefix.includes(":") ? `${prefix}/64` : `${prefix}0/24`));
    await this.plane.apply({
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node1", labels: { "kubernetes.io/hostname": "node1" } },
      spec: { podCIDR: podCIDRs[0], podCIDRs },
    });
    const addresses = [ipv4, ipv6].map((address) => ({ type: "InternalIP", address }));
    await this.plane.patchStatus(["node", "node1"], { addresses, conditions: [{ type: "Ready", status: "True" }] });
  }

  async #startPod(name: string): Promise<void> {
    const host = await this.node.addPod();
    const pod = await Pod.start(name, host, { serves: true, place: { cgroup: this.kubepods } });
    this.pods.push(pod);
    this.#undo.defer(() => pod.stop());
  }

  /** The pod number `n`, counted from 1. */
  pod(n: number): Pod {
    return made(this.pods[n - 1]);
  }

  /** The addresses of all pods. */
  get hosts(): Host[] {
    return this.pods.map((pod) => pod.host);
  }

  /** The agent started last. */
  get agent(): Agent {
    return made(this.agents.at(-1));
  }

  /** Starts an agent on this node; it is ended with the bed. Agent.inSync() waits for it. */
  startAgent(options: Partial<AgentOptions> = {}): Agent {
    const agent = new Agent({
      dir: this.dir,
      kubeconfig: this.plane.agentKubeconfig,
      cgroup: this.cgroup,
      bpffs: this.bpffs,
      place: { netns: this.node.netns, cgroup: this.system },
      ...options,
    });
    this.agents.push(agent);
    this.#undo.defer(async () => {
      await agent.daemon.stop("SIGKILL");
    });
    return agent;
  }

  /** Waits until calls from a client end as `right` wants them; gives those calls. */
  async sees(client: Pod, calls: Calls, what: string, right: (tally: Tally) => boolean): Promise<Tally> {
    let last: Tally | undefined;
    const look = async () => {
      last = await client.call({ timeoutMs: 500, ...calls });
      return right(last) ? last : undefined;
    };
    return await eventually(`${client.name} sees ${what}`, look, { withinMs: PATIENCE_MS }).catch(
      async (error: unknown) => {
        const said = await this.agent.report().catch(String);
        const seen = `calls ${JSON.stringify(calls)}, last seen ${JSON.stringify(last)}`;
        throw new Error(`${seen}\nagent: ${JSON.stringify(said)}\n${this.agent.daemon.tail()}`, { cause: error });
      },
    );
  }

  /** Waits until calls from a client are answered by exactly these pods and none fails; gives those calls. */
  reaches(client: Pod, call: Call, by: readonly Pod[]): Promise<Tally> {
    const wanted = by.map((pod) => pod.name).sort();
    return this.sees(client, { ...call, times: 12 * wanted.length }, `answers of ${wanted.join(", ")}`, (tally) => {
      return Object.keys(tally.errors).length === 0 && Object.keys(tally.answers).sort().join() === wanted.join();
    });
  }

  /** Waits until every call from a client fails with this errno ("TIMEOUT": silence). */
  async fails(client: Pod, call: Call, errno: string): Promise<void> {
    await this.sees(client, { ...call, times: 3 }, errno, (tally) => tally.errors[errno] === 3);
  }

  async remove(): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

function made<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("this part of the bed was not made");
  return part;
}
