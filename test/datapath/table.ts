// SPDX-License-Identifier: Apache-2.0
// Writes Services into the programs' maps for tests: the least that is right, one store after the other.

import type { BpfMap, Btf } from "libbpf-ts";
import { addressBit } from "../../src/datapath/address-bits.ts";
import { addressBytes, Codec, type Decoded } from "./codec.ts";

export const PROTO = { tcp: 6, udp: 17 } as const;
export type Proto = keyof typeof PROTO;

export const FRONTEND = {
  clusterIp: 1,
  nodePort: 2,
  externalIp: 4,
  loadBalancer: 8,
  anyPort: 16,
  internalLocal: 32,
  externalLocal: 64,
  bindGuard: 128,
  sourceRanges: 256,
  allowHost: 512,
  allowPods: 1024,
} as const;
export const BACKEND = { cluster: 1, local: 2, serving: 4 } as const;
export const ALGORITHM = { reject: 0, drop: 1, random: 2, leastConn: 3, maglev: 4 } as const;
const NODE_PORTS_HERE = 3;
const SLOTS_PER_PAGE = 1024;

export interface Endpoint {
  readonly address: string;
  readonly port: number;
  /** Default: cluster, local and serving. */
  readonly flags?: number;
}

export interface ServiceSpec {
  readonly proto: Proto;
  /** Address, port and flags; flags default to clusterIp. */
  readonly frontends: readonly { address: string; port: number; flags?: number }[];
  readonly endpoints: readonly Endpoint[];
  /** Indexes of `endpoints` that the local extent holds. Default: none, and DROP. */
  readonly local?: readonly number[];
  readonly affinitySec?: number;
  readonly algorithm?: number;
}

export interface Service {
  readonly id: number;
  readonly proto: Proto;
  readonly backends: readonly number[];
}

/** base:32 | count:24 | algorithm:8 */
export const extentWord = (base: number, count: number, algorithm: number): bigint =>
  (BigInt(algorithm) << 56n) | (BigInt(count) << 32n) | BigInt(base);

const index = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);

export class Table {
  readonly #map: (name: string) => BpfMap;
  readonly #codecs = new Map<string, Codec>();
  readonly #btf: Btf;
  #nextService = 1;
  #nextBackend = 1;
  #nextSlot = 0;

  constructor(map: (name: string) => BpfMap, btf: Btf) {
    this.#map = map;
    this.#btf = btf;
  }

  addService(spec: ServiceSpec): Service {
    const service: Service = {
      id: this.#nextService++,
      proto: spec.proto,
      backends: spec.endpoints.map(() => this.#nextBackend++),
    };
    spec.endpoints.forEach((endpoint, i) => {
      this.setBackend(service, i, endpoint);
    });
    const local = (spec.local ?? []).flatMap((i) => service.backends[i] ?? []);
    const { random, reject, drop } = ALGORITHM;
    this.setService(service, {
      cluster: this.#newExtent(service.backends, service.backends.length > 0 ? (spec.algorithm ?? random) : reject),
      local: this.#newExtent(local, local.length > 0 ? random : drop),
      affinitySec: spec.affinitySec ?? 0,
    });
    for (const frontend of spec.frontends) this.addFrontend(service, frontend);
    return service;
  }

  /** Lets calls to the address past the filter. */
  #cover(address: string): void {
    const bit = addressBit(addressBytes(address));
    const word = Buffer.from(this.get("pt_address_bits", Math.floor(bit / 64)));
    word.writeBigUInt64LE(word.readBigUInt64LE() | (1n << BigInt(bit % 64)));
    this.#map("pt_address_bits").set(index(Math.floor(bit / 64)), word);
  }

  addFrontend(service: Service, { address, port, flags = FRONTEND.clusterIp }: ServiceSpec["frontends"][number]): void {
    this.#cover(address);
    this.#map("pt_frontends").set(
      this.codec("frontend_key").encode({ addr: addressBytes(address), port, proto: PROTO[service.proto] }),
      this.codec("frontend").encode({ service_id: service.id, flags }),
    );
  }

  /** A ClusterIP's other ports: refused. */
  addAnyPort(address: string): void {
    this.#cover(address);
    this.#map("pt_frontends").set(
      this.codec("frontend_key").encode({ addr: addressBytes(address) }),
      this.codec("frontend").encode({ flags: FRONTEND.clusterIp | FRONTEND.anyPort }),
    );
  }

  /** Admits the sources in a prefix, "10.0.0.0/8", to the service's frontends with ranges. */
  addRange(service: Service, prefix: string): void {
    this.#map("pt_src_ranges").set(this.#rangeKey(service, prefix), this.codec("src_range").encode({ allowed: 1 }));
  }

  removeRange(service: Service, prefix: string): void {
    this.#map("pt_src_ranges").delete(this.#rangeKey(service, prefix));
  }

  /** 32 bits are the service id's. */
  #rangeKey(service: Service, prefix: string): Uint8Array {
    const [address = "", length = ""] = prefix.split("/");
    const prefixlen = 32 + Number(length) + (address.includes(":") ? 0 : 96);
    return this.codec("src_range_key").encode({ prefixlen, service_id: service.id, addr: addressBytes(address) });
  }

  addNodeAddress(address: string): void {
    this.#cover(address);
    this.#map("pt_node_addrs").set(addressBytes(address), this.codec("node_addr").encode({ flags: NODE_PORTS_HERE }));
  }

  setService(service: Service, words: { cluster: bigint; local: bigint; affinitySec: number }): void {
    const { cluster, local, affinitySec: affinity_sec } = words;
    this.#map("pt_services").set(index(service.id), this.codec("service").encode({ cluster, local, affinity_sec }));
  }

  /** For how long a client keeps its endpoint from its next connection on. */
  setAffinity(service: Service, affinitySec: number): void {
    const row = this.codec("service").decode(this.get("pt_services", service.id));
    this.setService(service, { cluster: row.bigint("cluster"), local: row.bigint("local"), affinitySec });
  }

  /** The cluster extent becomes these of the service's endpoints, by index; none: `algorithm` says what then. */
  setCluster(service: Service, endpoints: readonly number[], algorithm: number = ALGORITHM.random): void {
    const row = this.codec("service").decode(this.get("pt_services", service.id));
    this.setService(service, {
      cluster: this.#newExtent(
        endpoints.flatMap((i) => service.backends[i] ?? []),
        algorithm,
      ),
      local: row.bigint("local"),
      affinitySec: row.number("affinity_sec"),
    });
  }

  /** A generation is even while its id is in use. */
  setBackend(service: Service, i: number, endpoint: Endpoint & { generation?: number }): void {
    const { address, port, flags = BACKEND.cluster | BACKEND.local | BACKEND.serving, generation = 2 } = endpoint;
    const row = { addr: addressBytes(address), port, proto: PROTO[service.proto], service_id: service.id };
    this.#map("pt_backends").set(
      index(service.backends[i] ?? 0),
      this.codec("backend").encode({ ...row, generation, flags }),
    );
  }

  /** Changes flags or generation of an endpoint that is there. */
  patchBackend(service: Service, i: number, patch: { flags?: number; generation?: number }): void {
    const id = service.backends[i] ?? 0;
    const row = this.codec("backend").decode(this.get("pt_backends", id));
    const same = { addr: row.bytes("addr"), port: row.number("port"), proto: row.number("proto") };
    this.#map("pt_backends").set(
      index(id),
      this.codec("backend").encode({
        ...same,
        service_id: row.number("service_id"),
        generation: patch.generation ?? row.number("generation"),
        flags: patch.flags ?? row.number("flags"),
      }),
    );
  }

  /** Open connections to an endpoint of the service. */
  active(service: Service, i: number): number {
    return this.codec("active")
      .decode(this.get("pt_active", service.backends[i] ?? 0))
      .number("connections");
  }

  /** Bytes of an array map's element. */
  get(map: string, element: number): Uint8Array {
    const bytes = this.#map(map).get(index(element));
    if (bytes === null) throw new Error(`${map} has no element ${element}`);
    return bytes;
  }

  /** Every row of a hash map. */
  rows(map: string, key: string, value: string): { key: Decoded; value: Decoded }[] {
    return Array.from(this.#map(map).entries(), ([keyBytes, valueBytes]) => ({
      key: this.codec(key).decode(keyBytes),
      value: this.codec(value).decode(valueBytes),
    }));
  }

  /** Counters by reason without the prefix, summed over the CPUs; those at zero are left out. */
  stats(): Record<string, number> {
    const reasons = Object.entries(this.#btf.enum("stat_reason") ?? {}).filter(([name]) => name !== "STAT_MAX");
    const counts = reasons.map(([name, reason]): [string, number] => {
      const bytes = this.get("pt_stats", reason);
      const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
      return [name.replace("STAT_", ""), Number(words.reduce((sum, word) => sum + word, 0n))];
    });
    return Object.fromEntries(counts.filter(([, count]) => count > 0));
  }

  codec(name: string): Codec {
    const codec = this.#codecs.get(name) ?? new Codec(this.#btf, name);
    this.#codecs.set(name, codec);
    return codec;
  }

  /** Slots in a page of their own, so that a write of the page meets no other extent. */
  #newExtent(ids: readonly number[], algorithm: number): bigint {
    if (ids.length === 0) return extentWord(0, 0, algorithm);
    const page = this.#nextSlot++;
    const slots = new Uint32Array(SLOTS_PER_PAGE);
    slots.set(ids);
    this.#map("pt_slots").set(index(page), new Uint8Array(slots.buffer));
    return extentWord(page * SLOTS_PER_PAGE, ids.length, algorithm);
  }
}
