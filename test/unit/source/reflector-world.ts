// SPDX-License-Identifier: Apache-2.0
// What the reflector tests stand on: an API server with two Services and a slice, a source on it, and a fast clock.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { KubernetesSource, type KubernetesSourceOptions } from "../../../src/source/kubernetes.ts";
import { FaultApiServer } from "../../support/api-server.ts";
import { kubeconfig, service, slice } from "./objects.ts";
import { RecordingSink } from "./recording-sink.ts";
import { ScaledClock } from "./scaled-clock.ts";

/** Time runs so many times faster than on the wall. */
const FACTOR = 50;

export class ReflectorWorld {
  server!: FaultApiServer;
  sink!: RecordingSink;
  clock!: ScaledClock;
  source: KubernetesSource | null = null;
  #directory = "";
  #changes = 10;

  async open(): Promise<void> {
    this.#directory = mkdtempSync(join(tmpdir(), `portolan-reflector-${process.pid}-`));
    this.server = await FaultApiServer.start();
    fill(this.server);
    this.sink = new RecordingSink();
    this.setClock(FACTOR);
    this.source = null;
  }

  /** Another pace, or another chance; before the source is started. */
  setClock(factor = FACTOR, random?: () => number): void {
    this.clock = new ScaledClock(factor, random);
    this.server.clock = this.clock;
  }

  async close(): Promise<void> {
    await this.source?.stop();
    await this.server.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async start(
    servers: readonly string[] = [],
    options: Partial<KubernetesSourceOptions> = {},
  ): Promise<KubernetesSource> {
    const file = kubeconfig(this.#directory, this.server.url);
    const fixed = { kubeconfig: file, servers, stateDir: null, clock: this.clock };
    this.source = await KubernetesSource.load({ ...fixed, ...options });
    this.source.start(this.sink);
    return this.source;
  }

  async startSynced(options: Partial<KubernetesSourceOptions> = {}): Promise<KubernetesSource> {
    const started = await this.start([], options);
    await this.sink.until(() => this.sink.completed && this.server.openWatches === 2);
    return started;
  }

  counter(name: string): number {
    return this.source?.status().counters[name] ?? 0;
  }

  get deletions(): readonly string[] {
    return this.sink.log.filter((line) => line.startsWith("-"));
  }

  /** Cluster address of the Service shop/web, as the sink knows it. */
  get web(): string | undefined {
    return this.sink.services.get("shop/web")?.clusterIps[0];
  }

  /** Changes web and waits until it is seen: the proof that the watch lives. */
  async expectLive(): Promise<void> {
    const address = `10.96.1.${++this.#changes % 250}`;
    this.server.put("services", service("web", address));
    await this.sink.until(() => this.web === address);
  }
}

/** The two Services and the slice that every test begins with. */
export function fill(server: FaultApiServer): void {
  server.put("services", service("web"));
  server.put("services", service("api", "10.96.0.2"));
  server.put("endpointslices", slice("web-1", ["10.0.0.1", "10.0.0.2"]));
}

/** A world that opens and closes with each test of the file. */
export function reflectorWorld(): ReflectorWorld {
  const world = new ReflectorWorld();
  beforeEach(() => world.open());
  afterEach(() => world.close());
  return world;
}
