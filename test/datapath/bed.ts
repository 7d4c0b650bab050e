// SPDX-License-Identifier: Apache-2.0
// A node in small: a "host" and a "pod" network namespace, a cgroup with the socket programs on it, their maps, and
// processes in any of them. Everything it makes carries the test's process id and is gone after close().

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BpfLink, BpfObject } from "libbpf-ts";
import { Actor, buildActor } from "./actor.ts";
import type { Decoded } from "./codec.ts";
import { HOOKS, OBJECT, SIZES } from "./hooks.ts";
import { Table } from "./table.ts";

/** The host's addresses: on the wire to the pod, and of three backends on lo. */
export const HOST = { v4: "10.9.0.1", v6: "fd09::1" } as const;
export const POD = { v4: "10.9.0.2", v6: "fd09::2" } as const;
export const BACKENDS = {
  v4: ["10.9.1.1", "10.9.1.2", "10.9.1.3"],
  v6: ["fd09:1::1", "fd09:1::2", "fd09:1::3"],
} as const;

/** How long an actor waits for an answer that is not to come. */
export const SILENCE_MS = 1_500;

/** The host knows that there is no way there. */
export const UNREACHABLE = "10.9.2.1";

export interface BedOptions {
  /** `const volatile` globals. host_netns_cookie is the host namespace's by itself. */
  readonly rodata?: Readonly<Record<string, number | bigint | boolean>>;
  readonly sizes?: Readonly<Record<string, number>>;
}

export type Place = "host" | "pod";

const ip = (lines: string, netns?: string): void => {
  execFileSync("ip", [...(netns === undefined ? [] : ["-netns", netns]), "-batch", "-"], { input: lines });
};

/** The cgroup2 mount, wherever it is. */
export function cgroupMount(): string {
  const line = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .find((mount) => mount.includes(" - cgroup2 "));
  const path = line?.split(" ")[4];
  if (path === undefined) throw new Error("no cgroup2 is mounted");
  return path;
}

export class Bed {
  static #made = 0;
  readonly cgroup: string;
  readonly #prefix = `ptdp-${process.pid}-${Bed.#made++}`;
  readonly #directory = mkdtempSync(join(tmpdir(), "ptdp-"));
  /** Of actors. */
  readonly program = buildActor(this.#directory);
  readonly #actors: Actor[] = [];
  readonly #links: BpfLink[] = [];
  #object: BpfObject | null = null;
  #table: Table | null = null;

  private constructor() {
    this.cgroup = join(cgroupMount(), this.#prefix);
  }

  static async create(options: BedOptions = {}): Promise<Bed> {
    const bed = new Bed();
    try {
      bed.#makeNamespaces();
      mkdirSync(bed.cgroup);
      bed.#load(options, BigInt(await bed.outsider("host").do("netns")));
      return bed;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  /** A new process below the programs. */
  actor(place: Place): Actor {
    return this.#start(place, this.cgroup);
  }

  /** A new process beside them: for backends, and for what happens without portolan. */
  outsider(place: Place): Actor {
    return this.#start(place, null);
  }

  /** Sets a sysctl of a namespace, by its path below /proc/sys. */
  sysctl(place: Place, path: string, value: string): void {
    const netns = `/run/netns/${this.#prefix}-${place}`;
    execFileSync("nsenter", [`--net=${netns}`, "sh", "-c", `echo ${value} > /proc/sys/${path}`]);
  }

  get table(): Table {
    if (this.#table === null) throw new Error("not loaded");
    return this.#table;
  }

  /** The records in pt_sockets, those in sockets' own storage not among them. */
  records(): Decoded[] {
    using view = this.object.map("pt_sockets").mmap();
    const codec = this.table.codec("socket_record");
    const cookies = new BigUint64Array(view.buffer);
    const records: Decoded[] = [];
    for (let at = 0; at < view.buffer.byteLength; at += view.elementSize) {
      if (cookies[at / 8] !== 0n) records.push(codec.decode(new Uint8Array(view.buffer, at, view.elementSize).slice()));
    }
    return records;
  }

  /** Every row of a hash map as bytes. */
  rawRows(map: string): [Uint8Array, Uint8Array][] {
    return [...this.object.map(map).entries()];
  }

  get object(): BpfObject {
    if (this.#object === null) throw new Error("not loaded");
    return this.#object;
  }

  async close(): Promise<void> {
    for (const actor of this.#actors) await actor.kill();
    for (const link of this.#links) link.close();
    this.#object?.close();
    this.#remove();
  }

  #remove(): void {
    for (const place of ["host", "pod"]) {
      try {
        execFileSync("ip", ["netns", "del", `${this.#prefix}-${place}`], { stdio: "ignore" });
      } catch {
        // never made
      }
    }
    rmSync(this.#directory, { recursive: true, force: true });
    try {
      rmdirSync(this.cgroup);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  #start(place: Place, cgroup: string | null): Actor {
    const actor = new Actor({ program: this.program, netns: `${this.#prefix}-${place}`, cgroup });
    this.#actors.push(actor);
    return actor;
  }

  /** The pod is the host's default gateway and the other way round; neither forwards: what is not theirs vanishes. */
  #makeNamespaces(): void {
    const [host, pod] = [`${this.#prefix}-host`, `${this.#prefix}-pod`];
    ip(`netns add ${host}\nnetns add ${pod}`);
    const addresses = [...BACKENDS.v4.map((a) => `${a}/32`), ...BACKENDS.v6.map((a) => `${a}/128`)];
    ip(
      `link set lo up
      link add pod type veth peer name eth0 netns ${pod}
      addr add ${HOST.v4}/24 dev pod
      addr add ${HOST.v6}/64 dev pod nodad
      link set pod up
      ${addresses.map((address) => `addr add ${address} dev lo`).join("\n")}`,
      host,
    );
    ip(
      `link set lo up
      addr add ${POD.v4}/24 dev eth0
      addr add ${POD.v6}/64 dev eth0 nodad
      link set eth0 up
      route add default via ${HOST.v4}
      route add default via ${HOST.v6}`,
      pod,
    );
    ip(`route add default via ${POD.v4}\nroute add default via ${POD.v6}\nroute add unreachable ${UNREACHABLE}`, host);
  }

  #load({ rodata = {}, sizes = {} }: BedOptions, hostNetnsCookie: bigint): void {
    const object = BpfObject.open(OBJECT);
    this.#object = object;
    const entries = { ...SIZES, ...sizes };
    for (const [map, count] of Object.entries(entries)) object.setMaxEntries(map, count);
    object.setRodata("host_netns_cookie", hostNetnsCookie);
    object.setRodata("sockets_mask", (entries["pt_sockets"] ?? 1) - 1);
    for (const [name, value] of Object.entries(rodata)) object.setRodata(name, value);
    object.load();
    for (const [name, hook] of Object.entries(HOOKS)) {
      this.#links.push(object.program(name).attachCgroup(this.cgroup, hook));
    }
    this.#table = new Table((name) => object.map(name), object.btf());
  }
}
