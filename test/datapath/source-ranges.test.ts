// SPDX-License-Identifier: Apache-2.0
// loadBalancerSourceRanges at the socket: who is let through to a load balancer address and who is left untranslated,
// for every kind of socket; and the trie against plain arithmetic.

import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addressBytes, type Cidr, cidrContains, formatAddress, parseCidr } from "../../src/model/address.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST, POD } from "./bed.ts";
import { FRONTEND, type Service } from "./table.ts";

const VIP = { v4: "192.0.2.10", v6: "fd02::10" } as const;
const OTHER = { v4: "192.0.2.11", v6: "fd02::11" } as const;
const EMPTY = { v4: "192.0.2.12", v6: "fd02::12" } as const;
const RANGED = FRONTEND.loadBalancer | FRONTEND.sourceRanges;
const NODE_PORT = 30080;

/** Socket family, the family of its frontends, and how it names an address of that. */
const KINDS = [
  { name: "AF_INET", socket: "4", family: "v4", as: (address: string) => address },
  { name: "AF_INET6", socket: "6", family: "v6", as: (address: string) => address },
  { name: "AF_INET6, IPv4 mapped", socket: "6", family: "v4", as: (address: string) => `::ffff:${address}` },
] as const;
const FAMILIES = ["v4", "v6"] as const;
type Proto = "tcp" | "udp";
const PORT = { tcp: 80, udp: 53 } as const;

let bed: Bed;
let host: Actor;
let pod: Actor;
/** By protocol and family; those with endpoints and those without. */
const services = new Map<string, Service>();

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const family of FAMILIES) {
    const backend = BACKENDS[family][1];
    await server.do(`serve tcp ${backend} 8080 a`, `serve udp ${backend} 5353 a`);
    for (const proto of ["tcp", "udp"] as const) {
      const port = PORT[proto];
      const wildcard = family === "v4" ? "0.0.0.0" : "::";
      const frontends = [
        { address: OTHER[family], port, flags: FRONTEND.externalIp },
        { address: wildcard, port: NODE_PORT, flags: FRONTEND.nodePort },
      ];
      const endpoints = [{ address: backend, port: proto === "tcp" ? 8080 : 5353 }];
      services.set(`${proto} ${family}`, bed.table.addService({ proto, frontends, endpoints }));
      services.set(`${proto} ${family} empty`, bed.table.addService({ proto, frontends: [], endpoints: [] }));
    }
    bed.table.addNodeAddress(HOST[family]);
  }
  host = bed.actor("host");
  pod = bed.actor("pod");
});

afterAll(() => bed?.close());

const serviceOf = (key: string): Service => services.get(key) as Service;

/** Load balancer rows with these flags, and the prefixes in place of those before. */
function admit(flags: number, prefixes: readonly string[]): void {
  for (const [key] of bed.rawRows("pt_src_ranges")) bed.object.map("pt_src_ranges").delete(key);
  for (const proto of ["tcp", "udp"] as const) {
    for (const family of FAMILIES) {
      const service = serviceOf(`${proto} ${family}`);
      const empty = serviceOf(`${proto} ${family} empty`);
      bed.table.addFrontend(service, { address: VIP[family], port: PORT[proto], flags: RANGED | flags });
      bed.table.addFrontend(empty, { address: EMPTY[family], port: PORT[proto], flags: RANGED | flags });
      for (const prefix of prefixes) {
        if (prefix.includes(":") !== (family === "v6")) continue;
        bed.table.addRange(service, prefix);
        bed.table.addRange(empty, prefix);
      }
    }
  }
}

beforeEach(() => admit(0, []));

/** What the programs did with the call that the line makes: one call, one count. */
async function verdictOf(actor: Actor, line: string): Promise<string> {
  const before = bed.table.stats();
  await actor.ask(line);
  const after = bed.table.stats();
  const counted = Object.entries(after).filter(([reason, count]) => count > (before[reason] ?? 0));
  return counted.map(([reason]) => reason).join(" ");
}

const ADMITTED: Readonly<Record<string, string>> = { start: "CONNECT", connect: "CONNECT", sendto: "SENDMSG" };
const DROPPED: Readonly<Record<string, string>> = {
  start: "CONNECT_DROP SOURCE_OUTSIDE",
  connect: "CONNECT_DROP SOURCE_OUTSIDE",
  sendto: "SENDMSG_DROP SOURCE_OUTSIDE",
};

interface Call {
  readonly actor: Actor;
  readonly socket: string;
  readonly proto: Proto;
  readonly how: string;
  readonly to: string;
  readonly from?: string;
}

/** A new socket, bound or not, calls the frontend. */
async function call({ actor, socket, proto, how, to, from }: Call): Promise<string> {
  await actor.do(`socket 1 ${proto} ${socket}`);
  if (from !== undefined) await actor.do(`bind 1 ${from} 0`);
  const verdict = await verdictOf(actor, `${how} 1 ${to} ${PORT[proto]} x`);
  await actor.do("close 1");
  return verdict;
}

const WAYS = [
  { proto: "tcp", how: "start" },
  { proto: "udp", how: "connect" },
  { proto: "udp", how: "sendto" },
] as const;

describe.each(KINDS)("$name", ({ socket, family, as }) => {
  describe.each(WAYS)("$proto $how", ({ proto, how }) => {
    const at = (actor: Actor, to: string, from?: string): Promise<string> =>
      call({ actor, socket, proto, how, to: as(to), ...(from === undefined ? {} : { from: as(from) }) });

    test("a socket that is not bound is judged by who calls", async () => {
      expect(await at(host, VIP[family])).toBe(DROPPED[how]);
      expect(await at(pod, VIP[family])).toBe(DROPPED[how]);
      admit(FRONTEND.allowHost, []);
      expect(await at(host, VIP[family])).toBe(ADMITTED[how]);
      expect(await at(pod, VIP[family])).toBe(DROPPED[how]);
      admit(FRONTEND.allowPods, []);
      expect(await at(host, VIP[family])).toBe(DROPPED[how]);
      expect(await at(pod, VIP[family])).toBe(ADMITTED[how]);
    });

    test("so is one that is bound to no address in particular", async () => {
      const any = family === "v4" ? "0.0.0.0" : "::";
      admit(FRONTEND.allowHost, []);
      expect(await at(host, VIP[family], any)).toBe(ADMITTED[how]);
      expect(await at(pod, VIP[family], any)).toBe(DROPPED[how]);
    });

    test("a bound one by its address, whoever calls", async () => {
      const prefix = family === "v4" ? `${POD.v4}/32` : `${POD.v6}/128`;
      admit(FRONTEND.allowHost, [prefix]);
      expect(await at(pod, VIP[family], POD[family])).toBe(ADMITTED[how]);
      expect(await at(host, VIP[family], HOST[family])).toBe(DROPPED[how]);
      admit(FRONTEND.allowPods, ["10.9.0.0/31", "fd09::/127"]);
      expect(await at(host, VIP[family], HOST[family])).toBe(ADMITTED[how]);
      expect(await at(pod, VIP[family], POD[family])).toBe(DROPPED[how]);
    });

    test("prefixes are a service's own", async () => {
      admit(0, [family === "v4" ? "10.9.0.0/16" : "fd09::/16"]);
      bed.table.removeRange(serviceOf(`${proto} ${family}`), family === "v4" ? "10.9.0.0/16" : "fd09::/16");
      expect(await at(host, VIP[family], HOST[family])).toBe(DROPPED[how]);
    });

    test("ranges come before everything: without an endpoint a call from outside is dropped, not refused", async () => {
      expect(await at(host, EMPTY[family])).toBe(DROPPED[how]);
      admit(FRONTEND.allowHost, []);
      expect(await at(host, EMPTY[family])).toBe(how === "sendto" ? "SENDMSG_REJECT" : "CONNECT_REJECT");
    });

    test("external addresses and NodePorts of the same Service are for everyone", async () => {
      expect(await at(pod, OTHER[family])).toBe(ADMITTED[how]);
      await host.do(`socket 1 ${proto} ${socket}`, `bind 1 ${as(HOST[family])} 0`);
      expect(await verdictOf(host, `${how} 1 ${as(HOST[family])} ${NODE_PORT} x`)).toBe(ADMITTED[how]);
      await host.do("close 1");
    });
  });

  test("who is admitted is answered, and sees the frontend", async () => {
    admit(FRONTEND.allowHost, []);
    const vip = as(VIP[family]);
    await host.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 80`);
    expect(await host.do("read 1")).toBe("a");
    expect(await host.do("peer 1")).toBe(`${vip} 80`);
    await host.do("close 1", `socket 1 udp ${socket}`, `sendto 1 ${vip} 53 x`);
    expect(await host.do("recvfrom 1")).toBe(`a:x ${vip} 53`);
    await host.do("close 1");
  });

  test("a datagram that asks for a source address is judged by that, each by itself", async () => {
    admit(FRONTEND.allowHost, [family === "v4" ? `${HOST.v4}/32` : `${HOST.v6}/128`]);
    const [vip, inside, outside] = [VIP[family], HOST[family], BACKENDS[family][2]].map(as);
    await host.do(`socket 1 udp ${socket}`);
    for (const round of ["first", "again"]) {
      expect(await verdictOf(host, `sendfrom 1 ${vip} 53 x ${inside}`), round).toBe("SENDMSG");
      expect(await verdictOf(host, `sendfrom 1 ${vip} 53 x ${outside}`), round).toBe("SENDMSG_DROP SOURCE_OUTSIDE");
    }
    await host.do("close 1");
  });

  test("ranges that change: the next datagram is judged by the new ones, an open connection goes on", async () => {
    admit(FRONTEND.allowHost, []);
    const vip = as(VIP[family]);
    await host.do(`socket 1 udp ${socket}`, `sendto 1 ${vip} 53 x`, "read 1");
    await host.do(`socket 2 udp ${socket}`, `connect 2 ${vip} 53`);
    admit(0, []);
    expect(await verdictOf(host, `sendto 1 ${vip} 53 x`)).toBe("SENDMSG_DROP SOURCE_OUTSIDE");
    expect(await host.do("send 2 y", "read 2")).toBe("a:y");
    await host.do("close 1", "close 2");
  });

  test("a UDP socket that nobody bound may connect once more, whatever address the kernel gave it meanwhile", async () => {
    const vip = as(VIP[family]);
    await host.do(`socket 1 udp ${socket}`);
    admit(FRONTEND.allowHost, []);
    expect(await verdictOf(host, `connect 1 ${vip} 53`)).toBe("CONNECT");
    expect(await verdictOf(host, `connect 1 ${vip} 53`)).toBe("CONNECT");
    expect(await verdictOf(host, `sendto 1 ${vip} 53 x`)).toBe("SENDMSG");
    admit(FRONTEND.allowPods, []);
    expect(await verdictOf(host, `connect 1 ${vip} 53`)).toBe("CONNECT_DROP SOURCE_OUTSIDE");
    await host.do("close 1");
  });
});

describe("1,000 random sources against arithmetic", () => {
  const SETS = 25;
  const SOURCES = 20;

  beforeAll(() => {
    bed.sysctl("host", "net/ipv4/ip_nonlocal_bind", "1");
    bed.sysctl("host", "net/ipv6/ip_nonlocal_bind", "1");
  });

  const block = fc.uint8Array({ minLength: 16, maxLength: 16 });

  /** Prefixes of any length but 0 in 10/8 or fd00::/8, some inside others. */
  const prefixesOf = (family: "v4" | "v6"): fc.Arbitrary<Cidr[]> =>
    fc.array(
      fc.tuple(block, fc.integer({ min: 1, max: family === "v4" ? 24 : 120 })).map(([bytes, length]) => {
        const text = family === "v4" ? `10.${bytes.slice(0, 3).join(".")}` : formatAddress(inUla(bytes), 0, 6);
        return parseCidr(`${text}/${8 + length}`) as Cidr;
      }),
      { minLength: 1, maxLength: 8 },
    );
  const inUla = (bytes: Uint8Array): Uint8Array => Uint8Array.of(0xfd, ...bytes.slice(1));

  /** An address in a prefix, or just past its edges; never a special one. */
  function near(cidr: Cidr, bytes: Uint8Array, step: number): Uint8Array {
    const address = cidr.bytes.slice();
    for (let bit = cidr.bits; bit < 128; bit++) {
      const wanted = step === 0 ? ((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1 : step < 0 ? 0 : 1;
      if (wanted) address[bit >> 3] = (address[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
    }
    for (let i = 15; i > (cidr.family === 4 ? 12 : 0) && Math.abs(step) === 2; i--) {
      const next = (address[i] ?? 0) + Math.sign(step);
      address[i] = next & 0xff;
      if (next >= 0 && next <= 0xff) break;
    }
    return address;
  }

  test.each(FAMILIES)(
    "%s",
    async (family) => {
      const service = serviceOf(`udp ${family}`);
      const socket = family === "v4" ? "4" : "6";
      const seen = { in: 0, out: 0 };
      for (const prefixes of fc.sample(prefixesOf(family), { numRuns: SETS, seed: 42 })) {
        admit(0, []);
        const text = (cidr: Cidr) => formatAddress(cidr.bytes, 0, cidr.family);
        for (const cidr of prefixes) {
          bed.table.addRange(service, `${text(cidr)}/${cidr.family === 4 ? cidr.bits - 96 : cidr.bits}`);
        }
        const choice = fc.tuple(fc.constantFrom(...prefixes), block, fc.constantFrom(-2, -1, 0, 1, 2));
        for (const [cidr, bytes, step] of fc.sample(choice, { numRuns: SOURCES, seed: prefixes.length })) {
          const source = formatAddress(near(cidr, bytes, step), 0, cidr.family);
          const inside = prefixes.some((prefix) => cidrContains(prefix, addressBytes(source)));
          seen[inside ? "in" : "out"]++;
          const verdict = await call({
            actor: host,
            socket,
            proto: "udp",
            how: "connect",
            to: VIP[family],
            from: source,
          });
          expect(verdict, `${source} of ${prefixes.map(text)}`).toBe(
            inside ? "CONNECT" : "CONNECT_DROP SOURCE_OUTSIDE",
          );
        }
      }
      expect(seen.in + seen.out).toBe(SETS * SOURCES);
      expect(seen.out).toBeGreaterThan(50);
    },
    120_000,
  );
});
