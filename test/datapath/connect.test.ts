// SPDX-License-Identifier: Apache-2.0
// connect(): what reaches a backend, what the application sees, and the errno of what is refused, for every kind of socket.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, SILENCE_MS, UNREACHABLE } from "./bed.ts";
import { ALGORITHM, extentWord, FRONTEND, type Service } from "./table.ts";

/** Socket family, and how it names the frontend; what it is then shown is the same. */
const KINDS = [
  { name: "AF_INET", socket: "4", vip: "10.96.0.1", plain: BACKENDS.v4[1] },
  { name: "AF_INET6", socket: "6", vip: "fd96::1", plain: BACKENDS.v6[1] },
  { name: "AF_INET6, IPv4 mapped", socket: "6", vip: "::ffff:10.96.0.1", plain: `::ffff:${BACKENDS.v4[1]}` },
] as const;

let bed: Bed;
let client: Actor;
const services = new Map<string, Service>();

/** One Service of each protocol and family, and ports that answer nobody. */
function addServices(vip: string, backend: string): void {
  const add = (proto: "tcp" | "udp", port: number, endpointPort?: number): Service =>
    bed.table.addService({
      proto,
      frontends: [{ address: vip, port }],
      endpoints: endpointPort === undefined ? [] : [{ address: backend, port: endpointPort }],
    });
  services.set(vip, add("tcp", 80, 8080));
  add("udp", 53, 5353);
  add("tcp", 81);
  add("udp", 54);
  add("tcp", 82, 8099); // nobody listens there
  for (const proto of ["tcp", "udp"] as const) {
    bed.table.addService({
      proto,
      frontends: [{ address: vip, port: 83, flags: FRONTEND.clusterIp | FRONTEND.internalLocal }],
      endpoints: [{ address: backend, port: 8080 }],
    });
  }
  bed.table.addAnyPort(vip);
}

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const address of [...BACKENDS.v4.slice(0, 2), ...BACKENDS.v6.slice(0, 2)]) {
    await server.do(`serve tcp ${address} 8080 a`, `serve udp ${address} 5353 a`);
  }
  addServices("10.96.0.1", BACKENDS.v4[0]);
  addServices("fd96::1", BACKENDS.v6[0]);
  client = bed.actor("host");
});

afterAll(() => bed?.close());

describe.each(KINDS)("$name", ({ socket, vip, plain }) => {
  const service = (): Service => services.get(vip.replace("::ffff:", "")) as Service;

  test("TCP reaches the backend and shows the frontend", async () => {
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 80`);
    expect(await client.do("read 1")).toBe("a");
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    await client.do("close 1");
  });

  test("TCP without blocking", async () => {
    await client.do(`socket 1 tcp ${socket}`);
    expect(await client.ask(`start 1 ${vip} 80`)).toBe("EINPROGRESS");
    await client.do("finish 1");
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    expect(await client.do("read 1")).toBe("a");
    await client.do("close 1");
  });

  test("TCP Fast Open", async () => {
    await client.do(`socket 1 tcp ${socket}`, `fastopen 1 ${vip} 80 hello`);
    expect(await client.do("read 1")).toBe("a");
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    await client.do("close 1");
  });

  test("TCP half-closed still shows the frontend", async () => {
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 80`, "shutdown 1");
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    await client.do("close 1");
  });

  test("TCP closed by the other side still shows the frontend", async () => {
    const backend = bed.outsider("host");
    const address = plain.replace("::ffff:", "");
    const port = plain === address ? 8084 : 8085; // the first use leaves TIME_WAIT
    await backend.do(`socket 1 tcp ${address.includes(":") ? 6 : 4}`, `bind 1 ${address} ${port}`, "listen 1");
    bed.table.addService({
      proto: "tcp",
      frontends: [{ address: vip.replace("::ffff:", ""), port: 84 }],
      endpoints: [{ address, port }],
    });
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 84`);
    await backend.do("accept 1 2", "close 2");
    expect(await client.do("read 1")).toBe("");
    expect(await client.do("peer 1")).toBe(`${vip} 84`);
    await client.do("close 1");
    await backend.kill();
  });

  test("connected UDP: recvfrom, recvmsg and getpeername show the frontend", async () => {
    await client.do(`socket 1 udp ${socket}`, `connect 1 ${vip} 53`);
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
    expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${vip} 53`);
    expect(await client.do("send 1 y", "recvmsg 1")).toBe(`a:y ${vip} 53`);
    expect(await client.do("send 1 z", "read 1")).toBe("a:z");
    await client.do("close 1");
  });

  test.each([
    ["no endpoints", "tcp", 81],
    ["no endpoints", "udp", 54],
    ["a port that the ClusterIP does not have", "tcp", 9999],
    ["a port that the ClusterIP does not have", "udp", 9999],
    ["the other protocol's port", "udp", 80],
  ] as const)("%s: %s port %i is refused", async (_, proto, port) => {
    await client.do(`socket 1 ${proto} ${socket}`);
    expect(await client.ask(`connect 1 ${vip} ${port}`)).toBe("ECONNREFUSED");
    expect(await client.ask("peer 1")).toBe("ENOTCONN");
    await client.do("close 1");
  });

  test("no endpoints, without blocking: refused at once", async () => {
    await client.do(`socket 1 tcp ${socket}`);
    expect(await client.ask(`start 1 ${vip} 81`)).toBe("ECONNREFUSED");
    await client.do("close 1");
  });

  test("an endpoint where nobody listens: its own refusal, then another port works on the same socket", async () => {
    await client.do(`socket 1 tcp ${socket}`);
    expect(await client.ask(`connect 1 ${vip} 82`)).toBe("ECONNREFUSED");
    await client.do(`connect 1 ${vip} 80`);
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    await client.do("close 1");
  });

  test("internalTrafficPolicy=Local without a local endpoint: left untranslated, nobody is reached", async () => {
    const before = bed.table.stats()["CONNECT_DROP"] ?? 0;
    await client.do(`socket 1 tcp ${socket}`, `socket 2 udp ${socket}`);
    expect(await client.ask(`start 1 ${vip} 83`)).toBe("EINPROGRESS");
    expect(await client.ask(`finish 1 ${SILENCE_MS}`)).toMatch(/ETIMEDOUT|EHOSTUNREACH/);
    await client.do(`connect 2 ${vip} 83`, "send 2 x");
    expect(await client.ask(`recvfrom 2 ${SILENCE_MS}`)).toMatch(/ETIMEDOUT|EHOSTUNREACH|ECONNREFUSED/);
    expect(bed.table.stats()["CONNECT_DROP"]).toBe(before + 2);
    await client.do("close 1", "close 2");
  });

  test("a connection to no Service is not touched", async () => {
    const before = bed.table.stats();
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${plain} 8080`);
    expect(await client.do("peer 1")).toBe(`${plain} 8080`);
    await client.do("close 1", `socket 1 udp ${socket}`, `connect 1 ${plain} 5353`);
    expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${plain} 5353`);
    await client.do("close 1");
    expect(bed.table.stats()).toEqual(before);
  });

  test("UDP reconnected by AF_UNSPEC: to no Service, then to the frontend again", async () => {
    await client.do(`socket 1 udp ${socket}`, `connect 1 ${vip} 53`, "unspec 1");
    expect(await client.ask("peer 1")).toBe("ENOTCONN");
    await client.do(`connect 1 ${plain} 5353`);
    expect(await client.do("peer 1")).toBe(`${plain} 5353`);
    expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${plain} 5353`);
    await client.do("unspec 1", `connect 1 ${vip} 53`);
    expect(await client.do("peer 1")).toBe(`${vip} 53`);
    await client.do("close 1");
  });

  test("UDP reconnected directly to the very backend that stood for the frontend: shown as itself", async () => {
    const backend = plain.replace(/2$/, "1");
    await client.do(`socket 1 udp ${socket}`, `connect 1 ${vip} 53`, `connect 1 ${backend} 5353`);
    expect(await client.do("peer 1")).toBe(`${backend} 5353`);
    expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${backend} 5353`);
    await client.do("close 1");
  });

  test("after AF_UNSPEC, datagrams to and from the old backend are its own", async () => {
    const backend = plain.replace(/2$/, "1");
    await client.do(`socket 1 udp ${socket}`, `connect 1 ${vip} 53`, "unspec 1", `sendto 1 ${backend} 5353 x`);
    expect(await client.do("recvfrom 1")).toBe(`a:x ${backend} 5353`);
    await client.do("close 1");
  });

  test("TCP reconnected by AF_UNSPEC", async () => {
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 80`, "unspec 1", `connect 1 ${plain} 8080`);
    expect(await client.do("peer 1")).toBe(`${plain} 8080`);
    await client.do("unspec 1", `connect 1 ${vip} 80`);
    expect(await client.do("peer 1")).toBe(`${vip} 80`);
    await client.do("close 1");
  });

  test("dup'ed and passed descriptors are the same socket until the last is closed", async () => {
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${vip} 80`, "dup 1 2", "pass 2 3", "close 1", "close 2");
    expect(await client.do("peer 3")).toBe(`${vip} 80`);
    expect(bed.table.active(service(), 0)).toBe(1);
    await client.do("close 3");
    expect(bed.table.active(service(), 0)).toBe(0);
  });

  test("the end of the process by SIGKILL ends its records", async () => {
    const other = bed.actor("host");
    for (let i = 1; i <= 20; i++) await other.do(`socket ${i} tcp ${socket}`, `connect ${i} ${vip} 80`);
    expect(bed.table.active(service(), 0)).toBe(20);
    await other.kill();
    await expect.poll(() => bed.table.active(service(), 0)).toBe(0);
  });
});

test("a connect() that fails after its hook ran leaves the old peer, shown as itself", async () => {
  bed.table.addService({
    proto: "udp",
    frontends: [{ address: "10.96.0.8", port: 53 }],
    endpoints: [{ address: UNREACHABLE, port: 5353 }],
  });
  await client.do("socket 1 udp 4", `connect 1 ${BACKENDS.v4[1]} 5353`);
  expect(await client.ask("connect 1 10.96.0.8 53")).toBe("EHOSTUNREACH");
  expect(await client.do("peer 1")).toBe(`${BACKENDS.v4[1]} 5353`);
  expect(await client.do("send 1 x", "recvfrom 1")).toBe(`a:x ${BACKENDS.v4[1]} 5353`);
  await client.do("close 1");
});

test("AF_INET6 UDP connected by an AF_INET address shows the frontend mapped", async () => {
  await client.do("socket 1 udp 6", "connect 1 10.96.0.1 53");
  expect(await client.do("peer 1")).toBe("::ffff:10.96.0.1 53");
  expect(await client.do("send 1 x", "recvfrom 1")).toBe("a:x ::ffff:10.96.0.1 53");
  await client.do("close 1");
});

test.each([ALGORITHM.random, ALGORITHM.leastConn, ALGORITHM.maglev])("algorithm %i spreads", async (algorithm) => {
  const service = bed.table.addService({
    proto: "udp",
    frontends: [{ address: "10.96.0.9", port: 53 + algorithm }],
    endpoints: BACKENDS.v4.slice(0, 2).map((address) => ({ address, port: 5353 })),
    algorithm,
  });
  const names = new Set<string>();
  for (let i = 0; i < 40; i++) {
    await client.do("socket 1 udp 4", `connect 1 10.96.0.9 ${53 + algorithm}`);
    const record = bed.records().find((row) => row.number("service_id") === service.id);
    names.add(String(record?.bytes("backend_addr")));
    await client.do("close 1");
  }
  expect(names.size).toBe(2);
});

test("an extent whose slots are all dead is tried three times, then refused", async () => {
  const service = bed.table.addService({
    proto: "tcp",
    frontends: [{ address: "10.96.0.10", port: 80 }],
    endpoints: [{ address: BACKENDS.v4[0], port: 8080, flags: 0 }],
  });
  const before = bed.table.stats();
  await client.do("socket 1 tcp 4");
  expect(await client.ask("connect 1 10.96.0.10 80")).toBe("ECONNREFUSED");
  const after = bed.table.stats();
  expect((after["PICK_RETRY"] ?? 0) - (before["PICK_RETRY"] ?? 0)).toBe(2);
  expect((after["PICK_FAILED"] ?? 0) - (before["PICK_FAILED"] ?? 0)).toBe(1);
  bed.table.setService(service, { cluster: extentWord(0, 0, ALGORITHM.drop), local: 0n, affinitySec: 0 });
  expect(await client.ask("start 1 10.96.0.10 80")).toBe("EINPROGRESS");
  await client.do("close 1");
});
