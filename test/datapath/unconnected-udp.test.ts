// SPDX-License-Identifier: Apache-2.0
// sendto() and sendmsg() to frontends: answers bear the frontend's name, a socket keeps its endpoint while that serves.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST } from "./bed.ts";
import { BACKEND, FRONTEND, type Service } from "./table.ts";

/** `to` as sendto names it, `shown` as the answer's sender, by socket family. */
const KINDS = [
  { name: "AF_INET", socket: "4", family: "v4", mapped: "" },
  { name: "AF_INET6", socket: "6", family: "v6", mapped: "" },
  { name: "AF_INET6, IPv4 mapped", socket: "6", family: "v4", mapped: "::ffff:" },
] as const;
const VIP = { v4: "10.96.0.1", v6: "fd96::1" } as const;
/** Offsets in struct udp_peer. */
const PORT = 16;
const PAD = 18;
const OTHER_VIP = { v4: "10.96.0.2", v6: "fd96::2" } as const;

let bed: Bed;
let client: Actor;
const services = { v4: null as Service | null, v6: null as Service | null };

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const family of ["v4", "v6"] as const) {
    for (const [i, address] of BACKENDS[family].entries()) await server.do(`serve udp ${address} 5353 ${"abc"[i]}`);
    const endpoints = BACKENDS[family].slice(0, 2).map((address) => ({ address, port: 5353 }));
    services[family] = bed.table.addService({
      proto: "udp",
      frontends: [{ address: VIP[family], port: 53 }],
      endpoints,
    });
    // Another Service whose only endpoint is the first of the first one.
    bed.table.addService({
      proto: "udp",
      frontends: [{ address: OTHER_VIP[family], port: 53 }],
      endpoints: endpoints.slice(0, 1),
    });
    bed.table.addService({ proto: "udp", frontends: [{ address: VIP[family], port: 54 }], endpoints: [] });
    bed.table.addService({
      proto: "udp",
      frontends: [{ address: VIP[family], port: 55, flags: FRONTEND.clusterIp | FRONTEND.internalLocal }],
      endpoints: endpoints.slice(0, 1),
    });
    bed.table.addAnyPort(VIP[family]);
  }
  client = bed.actor("host");
});

afterAll(() => bed?.close());

describe.each(KINDS)("$name", ({ socket, family, mapped }) => {
  const vip = mapped + VIP[family];
  const other = mapped + OTHER_VIP[family];
  const first = mapped + BACKENDS[family][0];
  const third = mapped + BACKENDS[family][2];
  const service = (): Service => services[family] as Service;
  const serving = BACKEND.cluster | BACKEND.local | BACKEND.serving;

  /** Sends one datagram; resolves to "TAG:text sender port". */
  const exchange = async (to: string, port = 53, how = "recvfrom"): Promise<string> =>
    client.do(`sendto 1 ${to} ${port} x`, `${how} 1`);

  beforeEach(async () => {
    bed.table.setCluster(service(), [0, 1]);
    for (const i of [0, 1]) bed.table.patchBackend(service(), i, { flags: serving, generation: 1 });
    await client.ask("close 1");
    await client.do(`socket 1 udp ${socket}`);
  });

  test("the answer comes from the frontend, by recvfrom and recvmsg", async () => {
    expect(await exchange(vip)).toMatch(new RegExp(`^[ab]:x ${vip} 53$`));
    expect(await exchange(vip, 53, "recvmsg")).toMatch(new RegExp(`^[ab]:x ${vip} 53$`));
  });

  test("a socket keeps its endpoint, and steady datagrams write no row", async () => {
    const endpoint = await exchange(vip);
    const marked = bed.rawRows("pt_udp_peers").map(([key, value]) => {
      value[PAD] = 0xab; // no part of what is compared; a row written anew has 0 there
      bed.object.map("pt_udp_peers").set(key, value);
      return [key, value];
    });
    for (let i = 0; i < 30; i++) expect(await exchange(vip)).toBe(endpoint);
    expect(new Set(bed.rawRows("pt_udp_peers").map(String))).toEqual(new Set(marked.map(String)));
  });

  test("a row whose contents are another row's is not believed", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(vip);
    await client.do(`sendto 1 ${vip} 53 y`);
    const cookie = BigInt(await client.do("cookie 1"));
    for (const [key, value] of bed.rawRows("pt_udp_peers")) {
      if (new DataView(key.buffer, key.byteOffset).getBigUint64(0, true) !== cookie) continue;
      value[PORT] = 54;
      bed.object.map("pt_udp_peers").set(key, value);
    }
    expect(await client.do("recvfrom 1")).toBe(`a:y ${first} 5353`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
  });

  test("other sockets choose for themselves", async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 40; i++) {
      seen.add(await exchange(vip));
      await client.do("close 1", `socket 1 udp ${socket}`);
    }
    expect(seen.size).toBe(2);
  });

  test("the endpoint stays while it serves, though it is no longer chosen", async () => {
    const endpoint = await exchange(vip);
    const index = endpoint.startsWith("a") ? 0 : 1;
    bed.table.setCluster(service(), [1 - index]);
    bed.table.patchBackend(service(), index, { flags: BACKEND.serving });
    expect(await exchange(vip)).toBe(endpoint);
    bed.table.patchBackend(service(), index, { flags: 0 });
    expect(await exchange(vip)).toBe(`${"ab"[1 - index]}:x ${vip} 53`);
  });

  test("the endpoint is given up when its id is retired", async () => {
    const endpoint = await exchange(vip);
    const index = endpoint.startsWith("a") ? 0 : 1;
    bed.table.setCluster(service(), [1 - index]);
    bed.table.patchBackend(service(), index, { generation: 2 });
    expect(await exchange(vip)).toBe(`${"ab"[1 - index]}:x ${vip} 53`);
  });

  test("two Services, one endpoint: answers bear the name called last", async () => {
    bed.table.setCluster(service(), [0]);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
  });

  test("a datagram to the endpoint itself is answered by itself, also after one to the Service", async () => {
    bed.table.setCluster(service(), [0]);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await exchange(third, 5353)).toBe(`c:x ${third} 5353`);
  });

  test("connect() to the endpoint itself after sendto() to the Service", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(vip);
    await client.do(`connect 1 ${first} 5353`, "send 1 y");
    expect(await client.do("recvfrom 1")).toBe(`a:y ${first} 5353`);
  });

  test("connect() to a Service after sendto() to another with the same endpoint", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(other);
    await client.do(`connect 1 ${vip} 53`, "send 1 y");
    expect(await client.do("recvfrom 1")).toBe(`a:y ${vip} 53`);
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
  });

  test("sendto() on a socket connected to the same Service goes to its peer", async () => {
    await client.do(`connect 1 ${vip} 53`);
    for (let i = 0; i < 12; i++) {
      expect(await exchange(vip)).toMatch(new RegExp(`^[ab]:x ${vip} 53$`));
      expect(await client.do("peer 1")).toBe(`${vip} 53`);
    }
  });

  test("sendto() to another Service on a connected socket: the answer is that one's, the peer stays", async () => {
    bed.table.setCluster(service(), [0]);
    await client.do(`connect 1 ${vip} 53`);
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
  });

  test("no endpoints, and a port the ClusterIP does not have: refused", async () => {
    expect(await client.ask(`sendto 1 ${vip} 54 x`)).toBe("ECONNREFUSED");
    expect(await client.ask(`sendto 1 ${vip} 9999 x`)).toBe("ECONNREFUSED");
  });

  test("internalTrafficPolicy=Local without a local endpoint: nobody is reached", async () => {
    const before = bed.table.stats()["SENDMSG_DROP"] ?? 0;
    await client.do(`sendto 1 ${vip} 55 x`);
    expect(await client.ask("recvfrom 1")).toMatch(/ETIMEDOUT|EHOSTUNREACH/);
    expect(bed.table.stats()["SENDMSG_DROP"]).toBe(before + 1);
  });
});

test("a source of loopback, bound or asked for, is left as it is", async () => {
  const count = (): number => bed.table.stats()["LOOPBACK_SOURCE"] ?? 0;
  const before = count();
  await client.do("socket 2 udp 4", "bind 2 127.0.0.1 0");
  await client.ask("sendto 2 10.96.0.1 53 x");
  expect(count()).toBe(before + 1);
  await client.do("close 2", "socket 2 udp 4");
  await client.ask("sendfrom 2 10.96.0.1 53 x 127.0.0.1");
  expect(count()).toBe(before + 2);
  await client.do(`sendfrom 2 10.96.0.1 53 x ${HOST.v4}`);
  expect(await client.do("recvfrom 2")).toMatch(/^[ab]:x 10.96.0.1 53$/);
  await client.do("close 2", "socket 2 udp 6", "bind 2 ::1 0");
  await client.ask("sendto 2 fd96::1 53 x");
  expect(count()).toBe(before + 3);
});
