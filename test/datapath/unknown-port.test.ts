// SPDX-License-Identifier: Apache-2.0
// Beside the Services: a port or protocol that a ClusterIP does not have is refused, for every kind of socket and every
// way to call; at external addresses, and at addresses that no Service has, nothing is done.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST, POD } from "./bed.ts";
import { FRONTEND } from "./table.ts";

const CLUSTER_IP = { v4: "10.96.0.1", v6: "fd96::1" } as const;
const EXTERNAL = { v4: "192.0.2.1", v6: "fd02::1" } as const;
/** Of the Services' network, and nobody's. */
const UNUSED = { v4: "10.96.0.99", v6: "fd96::99" } as const;
const FAMILIES = ["v4", "v6"] as const;

const KINDS = [
  { name: "AF_INET", socket: "4", family: "v4", as: (address: string) => address },
  { name: "AF_INET6", socket: "6", family: "v6", as: (address: string) => address },
  { name: "AF_INET6, IPv4 mapped", socket: "6", family: "v4", as: (address: string) => `::ffff:${address}` },
] as const;

/** What is done before the call, with a UDP Service on port 53 and a TCP one on 80; and the call. */
const WAYS = [
  { way: "TCP connect", proto: "tcp", before: [], call: "connect" },
  { way: "TCP connect without blocking", proto: "tcp", before: [], call: "start" },
  { way: "TCP fast open", proto: "tcp", before: [], call: "fastopen" },
  {
    way: "TCP connect after one that succeeded",
    proto: "tcp",
    before: ["connect 1 VIP 80", "unspec 1"],
    call: "connect",
  },
  { way: "UDP connect", proto: "udp", before: [], call: "connect" },
  { way: "UDP connect after one that succeeded", proto: "udp", before: ["connect 1 VIP 53"], call: "connect" },
  { way: "UDP sendto", proto: "udp", before: [], call: "sendto" },
  { way: "UDP sendto after one that succeeded", proto: "udp", before: ["sendto 1 VIP 53 x", "read 1"], call: "sendto" },
  { way: "sendto on connected UDP", proto: "udp", before: ["connect 1 VIP 53"], call: "sendto" },
  { way: "sendto on UDP connected elsewhere", proto: "udp", before: ["connect 1 BACKEND 5353"], call: "sendto" },
  { way: "UDP sendto from a chosen address", proto: "udp", before: [], call: "sendfrom" },
] as const;
const PORTS = {
  "a port of nobody": { tcp: 9999, udp: 9999 },
  "the other protocol's port": { tcp: 53, udp: 80 },
} as const;

let bed: Bed;
const actors: Partial<Record<"host" | "pod", Actor>> = {};

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const family of FAMILIES) {
    const backend = BACKENDS[family][0];
    await server.do(`serve tcp ${backend} 8080 a`, `serve udp ${backend} 5353 a`);
    for (const [proto, port, endpoint] of [["tcp", 80, 8080] as const, ["udp", 53, 5353] as const]) {
      bed.table.addService({
        proto,
        frontends: [
          { address: CLUSTER_IP[family], port },
          { address: EXTERNAL[family], port, flags: FRONTEND.externalIp },
        ],
        endpoints: [{ address: backend, port: endpoint }],
      });
    }
    bed.table.addAnyPort(CLUSTER_IP[family]);
  }
  actors.host = bed.actor("host");
  actors.pod = bed.actor("pod");
});

afterAll(() => bed?.close());

interface Answer {
  readonly errno: string;
  /** Counters that went up. */
  readonly counted: string;
}

describe.each(["host", "pod"] as const)("%s", (place) => {
  describe.each(KINDS)("$name", ({ socket, family, as }) => {
    async function call(way: (typeof WAYS)[number], to: string, port: number): Promise<Answer> {
      const actor = actors[place] as Actor;
      const named = (line: string): string =>
        line.replace("VIP", as(CLUSTER_IP[family])).replace("BACKEND", as(BACKENDS[family][0]));
      await actor.do(`socket 1 ${way.proto} ${socket}`, ...way.before.map(named));
      const source = way.call === "sendfrom" ? as({ host: HOST, pod: POD }[place][family]) : "";
      const before = bed.table.stats();
      const errno = await actor.ask(`${way.call} 1 ${as(to)} ${port} x ${source}`);
      const after = bed.table.stats();
      await actor.do("close 1");
      const counted = Object.entries(after).filter(([reason, count]) => count > (before[reason] ?? 0));
      return { errno, counted: counted.map(([reason]) => reason).join(" ") };
    }

    describe.each(WAYS)("$way", (way) => {
      const refused = way.call.startsWith("send") ? "SENDMSG_REJECT" : "CONNECT_REJECT";

      test.each(Object.entries(PORTS))("%s of a ClusterIP is refused", async (_, ports) => {
        expect(await call(way, CLUSTER_IP[family], ports[way.proto])).toEqual({
          errno: "ECONNREFUSED",
          counted: refused,
        });
      });
    });

    // Those that do not wait for an answer.
    describe.each(WAYS.filter(({ proto, call: how }) => proto === "udp" || how === "start"))("$way", (way) => {
      test("a port of nobody at an external address is left alone", async () => {
        expect((await call(way, EXTERNAL[family], 9999)).counted).toBe("");
      });

      test("so is an address that no Service has", async () => {
        expect((await call(way, UNUSED[family], 80)).counted).toBe("");
      });
    });
  });
});
