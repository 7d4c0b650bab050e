// SPDX-License-Identifier: Apache-2.0
// A node as a proxy sees it, out of network namespaces: the node with its addresses, a pod on it that calls, and all
// endpoints there are, of this node and of others, in one namespace behind a router's hop. What is addressed to nobody
// leaves by the default route and is never answered: silence can be told from a refusal.

import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { findCgroup } from "../../src/node/cgroup.ts";
import { Actor, type Listener } from "./actor.ts";
import { eventually } from "./daemon.ts";
import {
  type ApiSeat,
  addEndpointRoute,
  changeAddresses,
  connectWorld,
  hostPrefix,
  isPodAddress,
  joinApi,
  NODE_ADDRESSES,
  POD_ADDRESSES,
  removeEndpointRoute,
  SECOND_ADDRESSES,
  type WorldNamespaces,
} from "./world-network.ts";

export interface WorldOptions {
  /** Keeps suites apart that run side by side; the process id is added. */
  readonly prefix: string;
  readonly name: string;
  readonly api?: ApiSeat;
}

async function makeCgroup(directory: string, undo: AsyncDisposableStack): Promise<void> {
  mkdirSync(directory);
  // A process that has just ended keeps its cgroup busy for a moment.
  undo.defer(async () => {
    await eventually(`rmdir ${directory}`, () => {
      rmdirSync(directory);
      return true;
    });
  });
}

export class World {
  readonly name: string;
  /** The node's namespace. */
  readonly netns: string;
  /** Its cgroup; `system` below it holds processes of the node, `kubepods` the pod. */
  readonly cgroup: string;
  readonly #undo = new AsyncDisposableStack();
  #routed: ReadonlySet<string> = new Set();
  #deviceAddresses: readonly string[] = [];
  #host: Actor | undefined;
  #pod: Actor | undefined;
  #endpoints: Actor | undefined;

  private constructor({ prefix, name }: WorldOptions) {
    this.name = name;
    this.netns = `${prefix}-${process.pid}-${name}`;
    this.cgroup = join(findCgroup()?.dir ?? "", this.netns);
  }

  static async create(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.#setUp(options.api);
      return world;
    } catch (error) {
      await world.remove();
      throw error;
    }
  }

  /** A process of the node. */
  get host(): Actor {
    return made(this.#host);
  }

  /** A process in a pod of this node. */
  get pod(): Actor {
    return made(this.#pod);
  }

  /** Where a process of the node is started. */
  get place(): { readonly netns: string; readonly cgroup: string } {
    return { netns: this.netns, cgroup: join(this.cgroup, "system") };
  }

  /** Something to be undone before what the world stands on. */
  atEnd(undo: () => Promise<unknown>): void {
    this.#undo.defer(async () => {
      await undo();
    });
  }

  async #setUp(api: ApiSeat | undefined): Promise<void> {
    for (const directory of ["", "system", "kubepods"]) await makeCgroup(join(this.cgroup, directory), this.#undo);
    await connectWorld(this.#namespaces, this.#undo);
    if (api) await joinApi(this.netns, api);
    const { node, pod, far } = this.#namespaces;
    this.#host = this.#start("host", node, "system");
    this.#pod = this.#start("pod", pod, "kubepods");
    this.#endpoints = this.#start("endpoints", far, null);
  }

  get #namespaces(): WorldNamespaces {
    const node = this.netns;
    return { node, pod: `${node}-pod`, far: `${node}-far`, outside: `${node}-out` };
  }

  #start(name: string, netns: string, cgroup: string | null): Actor {
    const place = cgroup === null ? { netns } : { netns, cgroup: join(this.cgroup, cgroup) };
    const actor = new Actor(`${this.name} ${name}`, place);
    this.#undo.defer(() => actor.stop());
    return actor;
  }

  /**
   * Gives one more device of the node these addresses, and has every listener answered where its address is: on the
   * node, in the pod, or among the endpoints. What was asked for before is no longer so.
   */
  async setAddresses(deviceAddresses: readonly string[], listeners: readonly Listener[]): Promise<void> {
    await this.#setDeviceAddresses(deviceAddresses);
    const at = Map.groupBy(listeners, ({ address }) => this.#actorAt(address));
    const far = (at.get(this.#endpoints) ?? []).map(({ address }) => address);
    await this.#setRoutes(new Set(far.filter((address) => !isPodAddress(address)).map(hostPrefix)));
    await this.serve(listeners);
  }

  /** Has these answered, too. */
  async serve(listeners: readonly Listener[]): Promise<void> {
    for (const [actor, theirs] of Map.groupBy(listeners, ({ address }) => this.#actorAt(address))) {
      await actor?.serve(theirs);
    }
  }

  #actorAt(address: string): Actor | undefined {
    const own = [...NODE_ADDRESSES, ...SECOND_ADDRESSES, ...this.#deviceAddresses];
    if (own.some((one) => one === address)) return this.#host;
    return POD_ADDRESSES.some((one) => one === address) ? this.#pod : this.#endpoints;
  }

  async #setRoutes(prefixes: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#routed].filter((one) => !prefixes.has(one));
    const come = [...prefixes].filter((one) => !this.#routed.has(one));
    for (const prefix of gone) await removeEndpointRoute(this.#namespaces, prefix);
    for (const prefix of come) await addEndpointRoute(this.#namespaces, prefix);
    this.#routed = prefixes;
  }

  async #setDeviceAddresses(addresses: readonly string[]): Promise<void> {
    const gone = this.#deviceAddresses.filter((address) => !addresses.includes(address));
    const come = addresses.filter((address) => !this.#deviceAddresses.includes(address));
    await changeAddresses(this.netns, gone, come);
    this.#deviceAddresses = addresses;
  }

  async remove(): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

function made<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("this part of the world was not made");
  return part;
}
