// SPDX-License-Identifier: Apache-2.0
// NodePorts called from this node: on its addresses by everyone, on loopback by the host alone.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST, type Place, POD, SILENCE_MS } from "./bed.ts";
import { FRONTEND } from "./table.ts";

const PORT = 30080;
/** Nobody listens on the port anywhere: what is not translated is refused by the kernel. */
const UNTOUCHED = "ECONNREFUSED";

let bed: Bed;
const actors = {} as Record<Place, Actor>;

beforeAll(async () => {
  bed = await Bed.create();
  const server = bed.outsider("host");
  for (const [family, wildcard] of [
    ["v4", "0.0.0.0"],
    ["v6", "::"],
  ] as const) {
    const backend = BACKENDS[family][0];
    await server.do(`serve tcp ${backend} 8080 a`, `serve udp ${backend} 5353 a`);
    for (const [proto, port] of [
      ["tcp", 8080],
      ["udp", 5353],
    ] as const) {
      bed.table.addService({
        proto,
        frontends: [{ address: wildcard, port: PORT, flags: FRONTEND.nodePort }],
        endpoints: [{ address: backend, port }],
      });
    }
    bed.table.addNodeAddress(HOST[family]);
  }
  actors.host = bed.actor("host");
  actors.pod = bed.actor("pod");
});

afterAll(() => bed?.close());

/** Connects by TCP; what answered, and the peer shown, or the errno. */
async function call(actor: Actor, socket: string, address: string): Promise<string> {
  await actor.do(`socket 1 tcp ${socket}`);
  const outcome = await actor.ask(`connect 1 ${address} ${PORT}`);
  const result = outcome === "ok" ? `${await actor.do("read 1")} ${await actor.do("peer 1")}` : outcome;
  await actor.do("close 1");
  return result;
}

/** Sends a datagram and waits for its answer, or the errno. */
async function exchange(actor: Actor, socket: string, address: string, patienceMs = ""): Promise<string> {
  await actor.do(`socket 1 udp ${socket}`);
  const sent = await actor.ask(`sendto 1 ${address} ${PORT} x`);
  const result = sent === "ok" ? await actor.ask(`recvfrom 1 ${patienceMs}`) : sent;
  await actor.do("close 1");
  return result.replace("ok ", "");
}

describe.each([
  ["4", HOST.v4],
  ["6", HOST.v6],
  ["6", `::ffff:${HOST.v4}`],
] as const)("AF_INET%s socket to the node's address %s", (socket, address) => {
  test.each(["host", "pod"] as const)("from the %s", async (place) => {
    expect(await call(actors[place], socket, address)).toBe(`a ${address} ${PORT}`);
    expect(await exchange(actors[place], socket, address)).toBe(`a:x ${address} ${PORT}`);
  });
});

describe.each([
  ["4", "127.0.0.1"],
  ["4", "127.8.9.10"],
  ["4", "0.0.0.0"],
  ["6", "::1"],
  ["6", "::"],
  ["6", "::ffff:127.0.0.1"],
  ["6", "::ffff:0.0.0.0"],
] as const)("AF_INET%s socket to loopback as %s", (socket, address) => {
  test("reaches the NodePort from the host", async () => {
    expect(await call(actors.host, socket, address)).toBe(`a ${address} ${PORT}`);
    expect(await exchange(actors.host, socket, address)).toBe(`a:x ${address} ${PORT}`);
  });

  test("is the pod's own from a pod", async () => {
    expect(await call(actors.pod, socket, address)).toBe(UNTOUCHED);
    expect(await exchange(actors.pod, socket, address, String(SILENCE_MS))).toMatch(/ECONNREFUSED|ETIMEDOUT/);
  });
});

test("an address that is not this node's is not touched", async () => {
  expect(await call(actors.pod, "4", POD.v4)).toBe(UNTOUCHED);
  expect(await call(actors.host, "4", POD.v4)).toBe(UNTOUCHED);
  expect(await call(actors.host, "6", POD.v6)).toBe(UNTOUCHED);
});

test("a node address added later counts at once", async () => {
  expect(await call(actors.host, "4", BACKENDS.v4[2])).toBe(UNTOUCHED);
  bed.table.addNodeAddress(BACKENDS.v4[2]);
  expect(await call(actors.host, "4", BACKENDS.v4[2])).toBe(`a ${BACKENDS.v4[2]} ${PORT}`);
});

test("a socket bound to loopback is left as it is, and counted", async () => {
  const before = bed.table.stats()["LOOPBACK_SOURCE"] ?? 0;
  for (const [socket, source, address] of [
    ["4", "127.0.0.1", HOST.v4],
    ["6", "::1", "::1"],
    ["6", "::ffff:127.0.0.1", "::ffff:127.0.0.1"],
  ]) {
    await actors.host.do(`socket 1 tcp ${socket}`, `bind 1 ${source} 0`);
    expect(await actors.host.ask(`connect 1 ${address} ${PORT}`)).toBe(UNTOUCHED);
    await actors.host.do("close 1");
  }
  expect(bed.table.stats()["LOOPBACK_SOURCE"]).toBe(before + 3);
});

test("without localhost NodePorts, loopback is the host's own too", async () => {
  const own = await Bed.create({ rodata: { localhost_node_ports: false } });
  try {
    own.table.addService({
      proto: "tcp",
      frontends: [{ address: "0.0.0.0", port: PORT, flags: FRONTEND.nodePort }],
      endpoints: [{ address: BACKENDS.v4[0], port: 8080 }],
    });
    own.table.addNodeAddress(HOST.v4);
    await own.outsider("host").do(`serve tcp ${BACKENDS.v4[0]} 8080 a`);
    const actor = own.actor("host");
    expect(await call(actor, "4", "127.0.0.1")).toBe(UNTOUCHED);
    expect(await call(actor, "4", HOST.v4)).toBe(`a ${HOST.v4} ${PORT}`);
  } finally {
    await own.close();
  }
});
