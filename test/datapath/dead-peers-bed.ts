// SPDX-License-Identifier: Apache-2.0
// A bed (bed.ts) with the parts of the agent that look after dead peers on it: a programmer that tells of endpoints that
// serve no more, and what is done about their sockets by a way of the test's choice.

import { basename } from "node:path";
import pino from "pino";
import type { DeadPeerRun, DeadPeers } from "../../src/agent/dead-peers/dead-peers.ts";
import { type OpenDeadPeers, openDeadPeers } from "../../src/agent/dead-peers/open.ts";
import type { DeadPeerWay, DeadPeerWays } from "../../src/agent/dead-peers/ways.ts";
import { Maps } from "../../src/datapath/maps.ts";
import type { Protocol } from "../../src/model/types.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { UdpClients, type UdpTarget } from "../support/udp-client.ts";
import { makeUnit } from "../support/units.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, type Place } from "./bed.ts";
import { SIZES } from "./hooks.ts";

/** Longer than a change needs to take effect on its sockets. */
export const SETTLE_MS = 700;

export const VIP = { v4: "10.96.0.1", v6: "fd96::1" } as const;
/** Of the endpoints; the Service's is 53. */
export const PORT = 5353;

export const KINDS = [
  { name: "AF_INET", socket: "4", family: "v4", mapped: "" },
  { name: "AF_INET6", socket: "6", family: "v6", mapped: "" },
  { name: "AF_INET6, IPv4 mapped", socket: "6", family: "v4", mapped: "::ffff:" },
] as const;

/** The Service, as sockets of each kind call it. */
const TARGETS: readonly UdpTarget[] = KINDS.map(({ socket, family, mapped }) => ({
  family: socket === "4" ? 4 : 6,
  address: mapped + VIP[family],
  port: 53,
}));

export class DeadPeersBed {
  readonly bed: Bed;
  readonly #sockets: number;
  #maps: Maps | null = null;
  #programmer: Programmer | null = null;
  #open: OpenDeadPeers | null = null;
  #runs: DeadPeerRun[] = [];
  readonly #clients: UdpClients[] = [];
  readonly #actors: Actor[] = [];

  private constructor(bed: Bed, sockets: number) {
    this.bed = bed;
    this.#sockets = sockets;
  }

  /** Endpoints "a", "b" and "c" answer, by UDP and TCP. `sockets`: places in pt_sockets. */
  static async create(sockets = SIZES["pt_sockets"] ?? 0): Promise<DeadPeersBed> {
    process.env["PORTOLAN_BPF_DIR"] ??= new URL("../../dist/bpf", import.meta.url).pathname;
    const bed = await Bed.create({ sizes: { pt_sockets: sockets } });
    const server = bed.outsider("host");
    for (const family of ["v4", "v6"] as const) {
      for (const [i, address] of BACKENDS[family].entries()) {
        await server.do(`serve udp ${address} ${PORT} ${"abc"[i]}`, `serve tcp ${address} ${PORT} ${"abc"[i]}`);
      }
    }
    return new DeadPeersBed(bed, sockets);
  }

  /** Before each test. */
  async set(): Promise<void> {
    this.#maps = Maps.ofObject(this.bed.object);
    this.#programmer = await Programmer.start(this.#maps, {
      bindGuard: () => false,
      onServing: (changes) => this.#open?.deadPeers.changed(changes),
    });
    this.#programmer.allowDeletes();
  }

  /** After each. */
  async clear(): Promise<void> {
    for (const client of this.#clients.splice(0)) await client.stop();
    for (const actor of this.#actors.splice(0)) await actor.kill();
    await this.end();
    this.deleteAll();
    await this.#programmer?.settled();
    this.#maps?.close();
  }

  async close(): Promise<void> {
    await this.bed.close();
  }

  get programmer(): Programmer {
    return this.#programmer ?? fail();
  }

  get maps(): Maps {
    return this.#maps ?? fail();
  }

  get deadPeers(): DeadPeers {
    return this.#open?.deadPeers ?? fail();
  }

  /** Of the one that runs, or ran last. */
  get runs(): readonly DeadPeerRun[] {
    return this.#runs;
  }

  /** The same way everywhere, or several. */
  begin(way: DeadPeerWay | DeadPeerWays, tcp = false): DeadPeers {
    this.#open = openDeadPeers({
      config: { deadPeers: { tcp, otherNamespaces: "auto" }, mapSizes: { sockets: this.#sockets } },
      cgroup: this.bed.cgroup,
      programs: this.bed,
      ownerOf: this.programmer.ownerOf,
      backend: (id) => this.maps.backend(id),
      log: pino({ level: "silent" }),
      ways: typeof way === "string" ? everywhere(way) : way,
    });
    this.#runs = [];
    this.#open.deadPeers.observe((run) => this.#runs.push(run));
    return this.#open.deadPeers;
  }

  async end(): Promise<void> {
    await this.#open?.[Symbol.asyncDispose]();
    this.#open = null;
  }

  /** The Service's endpoints by their letters, with their flags behind: "a", "b/s". */
  program(protocol: Protocol, ...letters: readonly string[]): void {
    const units = (["v4", "v6"] as const).map((family) =>
      makeUnit({
        name: "default/dns",
        clusterIp: VIP[family],
        port: 53,
        protocol,
        endpoints: letters.map((text) => {
          const [letter = "", flags = "cs"] = text.split("/");
          const address = BACKENDS[family]["abc".indexOf(letter)] ?? "";
          return `${family === "v6" ? `[${address}]` : address}:${PORT}/${flags}`;
        }),
      }),
    );
    this.programmer.apply({ upserted: units, removed: [] });
  }

  deleteAll(): void {
    const removed = [...this.programmer.units()].map(({ state }) => state.key);
    this.programmer.apply({ upserted: [], removed });
  }

  /** A process that is served, or one beside. */
  actor(place: Place, served = true): Actor {
    const actor = served ? this.bed.actor(place) : this.bed.outsider(place);
    this.#actors.push(actor);
    return actor;
  }

  clients(place: Place, { targets = TARGETS, keep = false } = {}): UdpClients {
    const where = { netns: `${basename(this.bed.cgroup)}-${place}`, cgroup: this.bed.cgroup };
    const clients = new UdpClients(where, targets, { keep });
    this.#clients.push(clients);
    return clients;
  }
}

/** Records in sockets' own storage can be listed wherever sockets can be ended in other namespaces. */
export const everywhere = (way: DeadPeerWay): DeadPeerWays => {
  return { here: way, elsewhere: way, lists: way !== "failing-sends", reasons: [] };
};

function fail(): never {
  throw new Error("not begun");
}
