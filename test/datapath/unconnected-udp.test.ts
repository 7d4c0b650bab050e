// SPDX-License-Identifier: Apache-2.0
// sendto() and sendmsg() to frontends: answers bear the frontend's name, a socket keeps its endpoint while that serves.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST, SILENCE_MS } from "./bed.ts";
import { addressBytes, type Decoded } from "./codec.ts";
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
/** In struct socket_record. */
const PROTO = 56;
const SENDTO = 2;
const SECOND_VIP = { v4: "10.96.0.3", v6: "fd96::3" } as const;
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
      frontends: [
        { address: VIP[family], port: 53 },
        { address: SECOND_VIP[family], port: 53 },
      ],
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
  const second = mapped + SECOND_VIP[family];
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
    for (const i of [0, 1]) bed.table.patchBackend(service(), i, { flags: serving, generation: 2 });
    await client.ask("close 1");
    await client.do(`socket 1 udp ${socket}`);
  });

  test("the answer comes from the frontend, by recvfrom and recvmsg", async () => {
    expect(await exchange(vip)).toMatch(new RegExp(`^[ab]:x ${vip} 53$`));
    expect(await exchange(vip, 53, "recvmsg")).toMatch(new RegExp(`^[ab]:x ${vip} 53$`));
  });

  /** The socket's cookie, and its record in pt_sockets. */
  const recorded = async (): Promise<{ cookie: bigint; record: Decoded | undefined }> => {
    const cookie = BigInt(await client.do("cookie 1"));
    return { cookie, record: bed.records().find((record) => record.bigint("cookie") === cookie) };
  };
  /** The socket's rows in pt_udp_peers. */
  const rows = async (): Promise<[Uint8Array, Uint8Array][]> => {
    const { cookie } = await recorded();
    return bed
      .rawRows("pt_udp_peers")
      .filter(([key]) => new DataView(key.buffer, key.byteOffset).getBigUint64(0, true) === cookie);
  };

  test("one Service is in the socket's record, and takes no row", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(vip);
    const { record } = await recorded();
    expect(record?.number("flags")).toBe(SENDTO);
    expect(record?.number("proto")).toBe(17);
    expect(record?.number("service_id")).toBe(service().id);
    expect(record?.number("frontend_port")).toBe(53);
    expect(record?.number("backend_id")).toBe(service().backends[0]);
    expect(await rows()).toEqual([]);
    await client.do("close 1");
    expect(bed.records()).toEqual([]);
  });

  test("a socket keeps its endpoint, and steady datagrams write no record", async () => {
    const endpoint = await exchange(vip);
    const { cookie } = await recorded();
    const slot = new Uint8Array(
      Uint32Array.of(Number(cookie % BigInt(bed.object.map("pt_sockets").info.maxEntries))).buffer,
    );
    const marked = bed.object.map("pt_sockets").get(slot) as Uint8Array;
    marked[PROTO] = 0xab; // no part of what is compared; a record written anew has 17 there
    bed.object.map("pt_sockets").set(slot, marked);
    for (let i = 0; i < 30; i++) expect(await exchange(vip)).toBe(endpoint);
    expect(bed.object.map("pt_sockets").get(slot)).toEqual(marked);
    expect(await rows()).toEqual([]);
  });

  test("steady datagrams to a second Service write no row", async () => {
    await exchange(other);
    const endpoint = await exchange(vip);
    const marked = bed.rawRows("pt_udp_peers").map(([key, value]) => {
      value[PAD] = 0xab; // no part of what is compared; a row written anew has 0 there
      bed.object.map("pt_udp_peers").set(key, value);
      return [key, value];
    });
    expect(await rows()).toHaveLength(2);
    for (let i = 0; i < 30; i++) expect(await exchange(vip)).toBe(endpoint);
    expect(new Set(bed.rawRows("pt_udp_peers").map(String))).toEqual(new Set(marked.map(String)));
  });

  test("a row whose contents are another row's is not believed", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(other);
    await exchange(vip);
    await client.do(`sendto 1 ${vip} 53 y`);
    for (const [key, value] of await rows()) {
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
    bed.table.patchBackend(service(), index, { generation: 3 });
    expect(await exchange(vip)).toBe(`${"ab"[1 - index]}:x ${vip} 53`);
  });

  test("two Services, one endpoint: answers bear the name called last", async () => {
    bed.table.setCluster(service(), [0]);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
  });

  test("two Services in turn, and the endpoint of both itself: the last call counts", async () => {
    bed.table.setCluster(service(), [0]);
    for (let i = 0; i < 3; i++) {
      expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
      expect(await exchange(other)).toBe(`a:x ${other} 53`);
      expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
      expect(await exchange(other)).toBe(`a:x ${other} 53`);
      expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
      expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
    }
  });

  test("a second Service's endpoint is kept as the first one's is", async () => {
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    const endpoint = await exchange(vip);
    for (let i = 0; i < 12; i++) {
      expect(await exchange(other)).toBe(`a:x ${other} 53`);
      expect(await exchange(vip)).toBe(endpoint);
    }
  });

  test("one Service by two addresses: one endpoint, the name called last", async () => {
    const endpoint = (await exchange(vip))[0];
    expect(await exchange(second)).toBe(`${endpoint}:x ${second} 53`);
    expect(await exchange(vip)).toBe(`${endpoint}:x ${vip} 53`);
  });

  test("the address of a Service taken away is an address like any other", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(second);
    const address = { addr: addressBytes(SECOND_VIP[family]), port: 53, proto: 17 };
    bed.object.map("pt_frontends").delete(bed.table.codec("frontend_key").encode(address));
    await client.ask(`sendto 1 ${second} 53 x`);
    expect(await client.ask(`recvfrom 1 ${SILENCE_MS}`)).toMatch(/ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/);
    bed.table.addFrontend(service(), { address: SECOND_VIP[family], port: 53 });
  });

  // To another endpoint than before AF_UNSPEC an IPv6 socket gets no answer on Linux, with the programs or without.
  test("after connect() and AF_UNSPEC: its endpoint, the Service's name; the endpoint itself, its own", async () => {
    await client.do(`connect 1 ${vip} 53`, "send 1 y");
    const tag = (await client.do("recvfrom 1"))[0];
    await client.do("unspec 1");
    for (let i = 0; i < 8; i++) expect(await exchange(vip)).toBe(`${tag}:x ${vip} 53`);
    const endpoint = tag === "a" ? first : mapped + BACKENDS[family][1];
    expect(await exchange(endpoint, 5353)).toBe(`${tag}:x ${endpoint} 5353`);
  });

  test("AF_UNSPEC with rows of two Services: the last call still counts", async () => {
    bed.table.setCluster(service(), [0]);
    await exchange(vip);
    await exchange(other);
    await client.do(`connect 1 ${vip} 53`, "send 1 y");
    expect(await client.do("recvfrom 1")).toBe(`a:y ${vip} 53`);
    await client.do("unspec 1");
    expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    await client.do(`connect 1 ${first} 5353`, "unspec 1");
    expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
  });

  test("a connect() that is refused leaves the socket where it was, and its names", async () => {
    bed.table.setCluster(service(), [0]);
    await client.do(`connect 1 ${vip} 53`);
    expect(await client.ask(`connect 1 ${vip} 54`)).toBe("ECONNREFUSED");
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
    expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${vip} 53`);
    expect(await exchange(other)).toBe(`a:x ${other} 53`);
    expect(await client.ask(`connect 1 ${vip} 54`)).toBe("ECONNREFUSED");
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
  });

  test("sendto() on a socket connected to the endpoint itself: the peer stays the endpoint", async () => {
    bed.table.setCluster(service(), [0]);
    await client.do(`connect 1 ${first} 5353`);
    expect(await exchange(vip)).toBe(`a:x ${vip} 53`);
    expect(await client.do("peer 1")).toBe(`${first} 5353`);
    expect(await exchange(first, 5353)).toBe(`a:x ${first} 5353`);
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

  test("a socket connected to what became a frontend only then stays there, also by sendto()", async () => {
    const late = family === "v4" ? "10.96.0.7" : "fd96::7";
    await client.do(`connect 1 ${mapped}${late} 53`);
    bed.table.addFrontend(service(), { address: late, port: 53 });
    const before = bed.table.stats()["SENDMSG"];
    await client.do("send 1 x", `sendto 1 ${mapped}${late} 53 x`);
    expect(bed.table.stats()["SENDMSG"]).toBe(before);
    expect(await client.do("peer 1")).toBe(`${mapped}${late} 53`);
    await client.do("close 1", `socket 1 udp ${socket}`);
    expect(await exchange(mapped + late)).toMatch(new RegExp(`^[ab]:x ${mapped}${late} 53$`));
    bed.object
      .map("pt_frontends")
      .delete(bed.table.codec("frontend_key").encode({ addr: addressBytes(late), port: 53, proto: 17 }));
  });

  test("no endpoints, and a port the ClusterIP does not have: refused", async () => {
    expect(await client.ask(`sendto 1 ${vip} 54 x`)).toBe("ECONNREFUSED");
    expect(await client.ask(`sendto 1 ${vip} 9999 x`)).toBe("ECONNREFUSED");
  });

  test("internalTrafficPolicy=Local without a local endpoint: nobody is reached", async () => {
    const before = bed.table.stats()["SENDMSG_DROP"] ?? 0;
    await client.do(`sendto 1 ${vip} 55 x`);
    expect(await client.ask(`recvfrom 1 ${SILENCE_MS}`)).toMatch(/ETIMEDOUT|EHOSTUNREACH/);
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
