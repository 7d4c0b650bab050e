// SPDX-License-Identifier: Apache-2.0
// Socket records: open connections counted exactly whatever happens to the socket, also when slots collide.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed } from "./bed.ts";
import { addressBytes } from "./codec.ts";
import { BACKEND, FRONTEND, type Service } from "./table.ts";

const VIP = "10.96.0.1";

describe.each([
  ["a slot for nearly every socket", 65_536],
  ["one slot for all sockets", 1],
])("%s", (_, slots) => {
  let bed: Bed;
  let client: Actor;
  let service: Service;
  let udp: Service;
  const active = (i = 0): number => bed.table.active(service, i);
  /** Records in sockets' own storage, counted in the element of backend id 0. */
  const overflow = (): number => bed.table.codec("active").decode(bed.table.get("pt_active", 0)).number("connections");
  /** How many of these sockets, opened in this order, find another one in their slot. */
  const crowded = async (sockets: readonly number[]): Promise<number> => {
    const taken = new Set<bigint>();
    for (const n of sockets) taken.add(BigInt(await client.do(`cookie ${n}`)) % BigInt(slots));
    return sockets.length - taken.size;
  };

  beforeAll(async () => {
    bed = await Bed.create({ sizes: { pt_sockets: slots } });
    const server = bed.outsider("host");
    await server.do(`serve tcp ${BACKENDS.v4[0]} 8080 a`, `serve udp ${BACKENDS.v4[0]} 5353 a`);
    const endpoint = (port: number) => [{ address: BACKENDS.v4[0], port }];
    service = bed.table.addService({
      proto: "tcp",
      frontends: [{ address: VIP, port: 80 }],
      endpoints: endpoint(8080),
    });
    udp = bed.table.addService({ proto: "udp", frontends: [{ address: VIP, port: 53 }], endpoints: endpoint(5353) });
    bed.table.addService({ proto: "tcp", frontends: [{ address: VIP, port: 81 }], endpoints: [] });
    bed.table.addService({
      proto: "udp",
      frontends: [{ address: VIP, port: 54, flags: FRONTEND.clusterIp | FRONTEND.internalLocal }],
      endpoints: endpoint(5353),
    });
    client = bed.actor("host");
  });

  afterAll(() => bed?.close());

  afterEach(() => {
    expect(bed.records()).toEqual([]);
    expect(active()).toBe(0);
    expect(overflow()).toBe(0);
  });

  test("50 connections, closed one by one", async () => {
    const sockets = Array.from({ length: 50 }, (_, n) => n + 1);
    for (const i of sockets) {
      await client.do(`socket ${i} tcp 4`, `connect ${i} ${VIP} 80`);
      expect(active()).toBe(i);
      if (slots === 1) expect(overflow()).toBe(i - 1);
    }
    expect(overflow()).toBe(await crowded(sockets));
    for (const i of sockets) {
      expect(await client.do(`peer ${i}`)).toBe(`${VIP} 80`);
      await client.do(`close ${i}`);
      expect(active()).toBe(50 - i);
    }
  });

  test("connected UDP sockets are recorded, not counted", async () => {
    for (let i = 1; i <= 5; i++) {
      await client.do(`socket ${i} udp 4`, `connect ${i} ${VIP} 53`, `send ${i} x`);
      expect(await client.do(`recvfrom ${i}`)).toBe(`a:x ${VIP} 53`);
    }
    expect(bed.table.active(udp, 0)).toBe(0);
    for (let i = 1; i <= 5; i++) await client.do(`close ${i}`);
  });

  test("UDP sockets that only sendto() are recorded, not counted, and keep endpoint and name", async () => {
    const sockets = [1, 2, 3, 4, 5];
    for (const i of sockets) {
      await client.do(`socket ${i} udp 4`);
      for (const text of ["x", "y"]) {
        await client.do(`sendto ${i} ${VIP} 53 ${text}`);
        expect(await client.do(`recvfrom ${i}`)).toBe(`a:${text} ${VIP} 53`);
      }
    }
    expect(overflow()).toBe(await crowded(sockets));
    expect(bed.records()).toHaveLength(5 - overflow());
    expect(bed.table.active(udp, 0)).toBe(0);
    expect(bed.rawRows("pt_udp_peers")).toEqual([]);
    for (const i of sockets) await client.do(`close ${i}`);
  });

  test("a UDP socket has one record, whatever it does", async () => {
    await client.do("socket 1 udp 4", `sendto 1 ${VIP} 53 x`, `connect 1 ${VIP} 53`, "unspec 1");
    await client.do(`sendto 1 ${VIP} 53 x`, `connect 1 ${BACKENDS.v4[0]} 5353`, "unspec 1", `connect 1 ${VIP} 53`);
    expect(bed.records()).toHaveLength(1);
    expect(bed.records()[0]?.number("flags")).toBe(0);
    expect(overflow()).toBe(0);
    await client.do("close 1");
  });

  test("SIGKILL", async () => {
    const other = bed.actor("host");
    for (let i = 1; i <= 30; i++) await other.do(`socket ${i} tcp 4`, `connect ${i} ${VIP} 80`);
    expect(active()).toBe(30);
    await other.kill();
    await expect.poll(() => active()).toBe(0);
  });

  test("a connection refused by the endpoint counts until the next connect or close", async () => {
    bed.table.setBackend(service, 0, { address: BACKENDS.v4[0], port: 8099 });
    await client.do("socket 1 tcp 4", "socket 2 tcp 4");
    for (const n of [1, 2]) expect(await client.ask(`connect ${n} ${VIP} 80`)).toBe("ECONNREFUSED");
    expect(active()).toBe(2);
    bed.table.setBackend(service, 0, { address: BACKENDS.v4[0], port: 8080 });
    await client.do(`connect 1 ${VIP} 80`);
    expect(active()).toBe(2);
    await client.do("close 2");
    expect(active()).toBe(1);
    await client.do("close 1");
  });

  test("a non-blocking connection that fails counts until it is closed", async () => {
    bed.table.setBackend(service, 0, { address: BACKENDS.v4[0], port: 8099 });
    await client.do("socket 1 tcp 4");
    expect(await client.ask(`start 1 ${VIP} 80`)).toMatch(/EINPROGRESS|ECONNREFUSED/);
    expect(active()).toBe(1);
    await client.do("close 1");
    bed.table.setBackend(service, 0, { address: BACKENDS.v4[0], port: 8080 });
  });

  test("reconnects on one socket: to the Service, to none, to one that refuses", async () => {
    await client.do("socket 1 tcp 4");
    for (let i = 0; i < 5; i++) {
      await client.do(`connect 1 ${VIP} 80`);
      expect(active()).toBe(1);
      await client.do("unspec 1", `connect 1 ${BACKENDS.v4[0]} 8080`);
      expect(active()).toBe(0);
      expect(await client.do("peer 1")).toBe(`${BACKENDS.v4[0]} 8080`);
      await client.do("unspec 1");
    }
    await client.do(`connect 1 ${VIP} 80`, "unspec 1");
    expect(await client.ask(`connect 1 ${VIP} 81`)).toBe("ECONNREFUSED");
    expect(active()).toBe(0);
    await client.do("close 1");
  });

  test("a release after the id was retired does not touch the count of its next use", async () => {
    await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
    bed.table.patchBackend(service, 0, { generation: 3 });
    await client.do("close 1");
    expect(active()).toBe(1);
    bed.table.patchBackend(service, 0, { generation: 2 });
    bed.object.map("pt_active").set(new Uint8Array(Uint32Array.of(service.backends[0] ?? 0).buffer), new Uint8Array(8));
  });

  test("an endpoint's end cuts nothing", async () => {
    await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
    bed.table.patchBackend(service, 0, { flags: 0 });
    expect(await client.do("read 1")).toBe("a");
    expect(await client.do("peer 1")).toBe(`${VIP} 80`);
    bed.table.patchBackend(service, 0, { flags: BACKEND.cluster | BACKEND.local | BACKEND.serving });
    await client.do("close 1");
  });

  test("a socket that never called a Service leaves others' records alone", async () => {
    await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
    for (let i = 2; i <= 20; i++) {
      await client.do(`socket ${i} tcp 4`, `connect ${i} ${BACKENDS.v4[0]} 8080`, `close ${i}`);
    }
    expect(active()).toBe(1);
    expect(await client.do("peer 1")).toBe(`${VIP} 80`);
    await client.do("close 1");
  });

  test("what the record of a call says that policy let lead nowhere", async () => {
    await client.do("socket 1 udp 4", `connect 1 ${VIP} 54`);
    const [record] = bed.records();
    for (const member of ["frontend", "backend"]) {
      expect(record?.bytes(`${member}_addr`)).toEqual(addressBytes(VIP));
      expect(record?.number(`${member}_port`)).toBe(54);
    }
    expect([record?.number("backend_id"), record?.number("flags")]).toEqual([0, 0]);
    expect(await client.do("peer 1")).toBe(`${VIP} 54`);
    await client.do(`connect 1 ${VIP} 53`, "send 1 x");
    expect(await client.do("recvfrom 1")).toBe(`a:x ${VIP} 53`);
    await client.do("close 1");
  });

  test("what a record says", async () => {
    await client.do("socket 1 tcp 4", `connect 1 ${VIP} 80`);
    const [record] = bed.records();
    expect(record?.bigint("cookie")).toBe(BigInt(await client.do("cookie 1")));
    expect(record?.bytes("frontend_addr")).toEqual(addressBytes(VIP));
    expect(record?.number("frontend_port")).toBe(80);
    expect(record?.bytes("backend_addr")).toEqual(addressBytes(BACKENDS.v4[0]));
    expect(record?.number("backend_port")).toBe(8080);
    expect(record?.number("backend_id")).toBe(service.backends[0]);
    expect(record?.number("generation")).toBe(2);
    expect(record?.number("service_id")).toBe(service.id);
    expect(record?.number("proto")).toBe(6);
    expect(record?.number("flags")).toBe(1);
    await client.do("close 1");
  });

  test("overflow is used exactly when the slot is taken", async () => {
    const before = bed.table.stats()["RECORD_OVERFLOW"] ?? 0;
    for (let i = 1; i <= 3; i++) await client.do(`socket ${i} tcp 4`, `connect ${i} ${VIP} 80`);
    expect((bed.table.stats()["RECORD_OVERFLOW"] ?? 0) - before).toBe(await crowded([1, 2, 3]));
    expect(bed.table.stats()["RECORD_LOST"]).toBeUndefined();
    // The slot becomes free; a socket whose record lies in its storage takes it with its next call.
    await client.do("close 1", "unspec 2", `connect 2 ${VIP} 80`);
    expect(active()).toBe(2);
    expect(overflow()).toBe(slots === 1 ? 1 : 0);
    await client.do("close 2", "close 3");
  });
});
