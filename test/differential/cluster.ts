// SPDX-License-Identifier: Apache-2.0
// One real API server, and nodes of the same name on which one proxy each follows it: portolan, kube-proxy in nftables
// mode, kube-proxy in iptables mode. Each has a world of its own.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlPlane } from "../support/kube.ts";
import { markerArrived, markerNamespace, markerObjects } from "../support/marker.ts";
import { Portolan } from "../support/portolan.ts";
import type { Manifest, ObjectReference } from "../support/scenario.ts";
import { World } from "../support/world.ts";
import { API_ADDRESS, apiNetwork, NODE_ADDRESSES, removeAbandoned } from "../support/world-network.ts";
import { ApiClient, type ApiObject, Refused } from "./api-client.ts";
import { clusterObject } from "./cluster-object.ts";
import { type ProxySettings, proxyConfiguration, startKubeProxy } from "./kube-proxy.ts";

const PREFIX = "pt-diff";
export const NODE = "node-a";
/** Away from the addresses that scenarios use; those are further ServiceCIDRs. */
const API_RANGES = ["10.98.0.0/24", "fd00:98::/120"] as const;
const SERVICE_CIDRS = { dual: ["10.96.0.0/15", "fd00:96::/112"], six: ["fd00:10:96::/112"] } as const;
/** Where addresses of Services come from. */
export const SERVICE_RANGES: readonly string[] = [...API_RANGES, ...Object.values(SERVICE_CIDRS).flat()];

const NODE_POD_CIDRS = ["10.244.1.0/24", "fd00:10:244:1::/64"] as const;

/** What every scenario's outcomes are compared in; portolan first, its reference second. */
const PROXIES = ["portolan", "nftables", "iptables"] as const;
type Proxy = (typeof PROXIES)[number];

export interface BulkChange {
  readonly apply: readonly ApiObject[];
  readonly remove: readonly ApiObject[];
  readonly killed: boolean;
}

export class Cluster {
  readonly #undo = new AsyncDisposableStack();
  readonly #objects = new Map<string, ApiObject>();
  readonly worlds: World[] = [];
  readonly #proxies: readonly Proxy[];
  readonly #settings: Omit<ProxySettings, "kubeconfig">;
  #configuration: object = {};
  #api: ApiClient | undefined;
  #portolan: Portolan | undefined;
  #steps = 0;
  #labelled = false;

  private constructor(proxies: readonly Proxy[], other: object) {
    this.#proxies = proxies;
    this.#settings = { hostnameOverride: NODE, other };
  }

  /** With a world for each of these; `other` fields of their configuration take the place of the usual ones. */
  static async create(proxies: readonly Proxy[] = PROXIES, other: object = {}): Promise<Cluster> {
    const cluster = new Cluster(proxies, other);
    try {
      await cluster.#setUp();
      return cluster;
    } catch (error) {
      await cluster.remove();
      throw error;
    }
  }

  async #setUp(): Promise<void> {
    await removeAbandoned(PREFIX);
    const dir = mkdtempSync(join(tmpdir(), "portolan-differential-"));
    this.#undo.defer(() => rmSync(dir, { recursive: true, force: true }));
    const place = { netns: `${PREFIX}-${process.pid}-api` };
    await apiNetwork(place.netns, this.#undo);
    const plane = await ControlPlane.start({
      dir: join(dir, "kube"),
      address: API_ADDRESS,
      place,
      serviceRanges: API_RANGES,
    });
    this.#undo.defer(() => plane.stop());
    const api = new ApiClient(plane.admin, place);
    this.#api = api;
    this.#undo.defer(() => api.stop());
    await this.#makeFoundations(api);
    await Promise.all(this.#proxies.map((proxy, index) => this.#startProxy(proxy, index, plane, place.netns)));
    await this.#mark();
  }

  async #makeFoundations(api: ApiClient): Promise<void> {
    for (const [name, cidrs] of Object.entries(SERVICE_CIDRS)) {
      const metadata = { name };
      const status = { conditions: [{ type: "Ready", status: "True", lastTransitionTime: new Date().toISOString() }] };
      const range = { apiVersion: "networking.k8s.io/v1", kind: "ServiceCIDR", metadata, spec: { cidrs }, status };
      await api.apply(range as ApiObject);
    }
    await api.apply(markerNamespace);
    await this.labelNode({});
  }

  async #startProxy(proxy: Proxy, index: number, plane: ControlPlane, netns: string): Promise<void> {
    const world = await World.create({ prefix: PREFIX, name: proxy, api: { netns, number: 11 + index } });
    this.worlds[index] = world;
    this.#undo.defer(() => world.remove());
    if (proxy === "portolan") {
      const portolan = await Portolan.create(world);
      this.#portolan = portolan;
      this.#configuration = proxyConfiguration("nftables", { ...this.#settings, kubeconfig: plane.agentKubeconfig });
      await portolan.start(this.#configuration);
    } else await startKubeProxy(world, proxy, plane, this.#settings);
  }

  /** The Node with these labels. */
  async labelNode(labels: Readonly<Record<string, string>>): Promise<void> {
    const addresses = NODE_ADDRESSES.map((address) => ({ type: "InternalIP", address }));
    const metadata = { name: NODE, labels };
    const spec = { podCIDR: NODE_POD_CIDRS[0], podCIDRs: NODE_POD_CIDRS };
    await this.api.apply({ apiVersion: "v1", kind: "Node", metadata, spec, status: { addresses } } as ApiObject);
  }

  get portolan(): Portolan {
    if (this.#portolan === undefined) throw new Error("portolan does not run here");
    return this.#portolan;
  }

  get api(): ApiClient {
    if (this.#api === undefined) throw new Error("there is no API server");
    return this.#api;
  }

  /** Applies and deletes, and waits until every proxy has taken it in. Throws Refused. */
  async change(apply: readonly Manifest[], remove: readonly ObjectReference[]): Promise<void> {
    for (const { kind, key } of remove) await this.#delete(`${kind} ${key}`);
    for (const manifest of apply) await this.#apply(manifest);
    await this.#mark();
  }

  /**
   * As change(), much at a time and in no order but that deletions come first, and if wanted while portolan is killed;
   * gives how many objects were refused.
   */
  async changeAtOnce({ apply, remove, killed }: BulkChange): Promise<number> {
    if (killed) await this.portolan.kill();
    await Promise.all(remove.map((object) => this.api.delete(object)));
    const applied = await Promise.allSettled(apply.map((object) => this.api.apply(object)));
    const failed = applied.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    const unexpected = failed.find((reason) => !(reason instanceof Refused));
    if (unexpected !== undefined) throw unexpected;
    if (killed) await this.portolan.start(this.#configuration);
    await this.#mark();
    return failed.length;
  }

  async #apply(manifest: Manifest): Promise<void> {
    const { kind, metadata } = manifest;
    if (kind === "Node") {
      this.#labelled = true;
      await this.labelNode((metadata["labels"] as Record<string, string> | undefined) ?? {});
    }
    // The ranges that scenarios use are there from the start.
    if (kind !== "Service" && kind !== "EndpointSlice") return;
    if (metadata.namespace !== "default") await this.#makeNamespace(metadata.namespace);
    const object = clusterObject(manifest);
    this.#objects.set(`${kind} ${metadata.namespace}/${metadata.name}`, object);
    await this.api.apply(object);
  }

  /** Removes what the scenario made. */
  async clear(): Promise<void> {
    for (const key of [...this.#objects.keys()]) await this.#delete(key);
    if (this.#labelled) await this.labelNode({});
    this.#labelled = false;
  }

  async remove(): Promise<void> {
    await this.#undo.disposeAsync();
  }

  async #delete(key: string): Promise<void> {
    const object = this.#objects.get(key);
    this.#objects.delete(key);
    if (object) await this.api.delete(object);
  }

  readonly #namespaces = new Set<string>();

  async #makeNamespace(name: string): Promise<void> {
    if (this.#namespaces.has(name)) return;
    this.#namespaces.add(name);
    await this.api.apply({ kind: "Namespace", metadata: { name } });
  }

  async #mark(): Promise<void> {
    const step = ++this.#steps;
    for (const object of markerObjects(step)) await this.api.apply(object as ApiObject);
    await Promise.all(this.worlds.map((world) => markerArrived(world, step))).catch(async (error: unknown) => {
      throw new Error(`${error}\n${await this.#portolan?.describe()}`);
    });
  }
}
