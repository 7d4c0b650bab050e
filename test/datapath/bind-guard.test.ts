// SPDX-License-Identifier: Apache-2.0
// bind() in the host's namespace: nobody takes a NodePort, or an external frontend's own address and port.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Actor } from "./actor.ts";
import { BACKENDS, Bed, HOST } from "./bed.ts";
import { FRONTEND } from "./table.ts";

const GUARDED = 30080; // NodePort of both families
const ONLY_V4 = 30081;
const UNGUARDED = 30082; // a NodePort in the range of ephemeral ports, as user space judged
const EXTERNAL = BACKENDS.v4[2]; // on lo here, as a virtual address might be

let bed: Bed;
let host: Actor;
let pod: Actor;

function addServices(target: Bed): void {
  const { table } = target;
  const nodePort = FRONTEND.nodePort | FRONTEND.bindGuard;
  for (const proto of ["tcp", "udp"] as const) {
    const add = (address: string, port: number, flags: number): void => {
      table.addService({ proto, frontends: [{ address, port, flags }], endpoints: [] });
    };
    add("0.0.0.0", GUARDED, nodePort);
    add("::", GUARDED, nodePort);
    add("0.0.0.0", ONLY_V4, nodePort);
    add("0.0.0.0", UNGUARDED, FRONTEND.nodePort);
    add(EXTERNAL, 443, FRONTEND.loadBalancer | FRONTEND.bindGuard);
    add(EXTERNAL, 444, FRONTEND.externalIp);
  }
  table.addNodeAddress(HOST.v4);
  table.addNodeAddress(HOST.v6);
}

beforeAll(async () => {
  bed = await Bed.create();
  addServices(bed);
  host = bed.actor("host");
  pod = bed.actor("pod");
});

afterAll(() => bed?.close());

async function bind(actor: Actor, proto: string, family: string, address: string, port: number): Promise<string> {
  await actor.do(`socket 1 ${proto} ${family}`);
  const outcome = await actor.ask(`bind 1 ${address} ${port}`);
  await actor.do("close 1");
  return outcome;
}

describe.each(["tcp", "udp"])("%s", (proto) => {
  test.each([
    ["4", "0.0.0.0", GUARDED],
    ["4", HOST.v4, GUARDED],
    ["6", "::", GUARDED],
    ["6", HOST.v6, GUARDED],
    ["6", "::ffff:0.0.0.0", GUARDED],
    ["6", `::ffff:${HOST.v4}`, GUARDED],
    ["6", "::", ONLY_V4],
    ["4", EXTERNAL, 443],
    ["6", `::ffff:${EXTERNAL}`, 443],
  ] as const)("AF_INET%s %s port %i is taken", async (family, address, port) => {
    expect(await bind(host, proto, family, address, port)).toBe("EADDRINUSE");
  });

  test.each([
    ["4", "0.0.0.0", UNGUARDED],
    ["4", "0.0.0.0", 30999],
    ["4", "0.0.0.0", 0],
    ["4", "127.0.0.1", GUARDED],
    ["4", BACKENDS.v4[0], GUARDED], // an address of the host on which NodePorts do not answer
    ["6", HOST.v6, ONLY_V4],
    ["4", "0.0.0.0", 443], // an ingress beside a load balancer's address
    ["6", "::", 443],
    ["4", EXTERNAL, 444],
  ] as const)("AF_INET%s %s port %i is free", async (family, address, port) => {
    expect(await bind(host, proto, family, address, port)).toBe("ok");
  });

  test("an IPv6-only wildcard counts as taking IPv4 along", async () => {
    await host.do(`socket 1 ${proto} 6`, "v6only 1");
    expect(await host.ask(`bind 1 :: ${ONLY_V4}`)).toBe("EADDRINUSE");
    await host.do("close 1");
  });

  test("a pod may bind what it likes", async () => {
    expect(await bind(pod, proto, "4", "0.0.0.0", GUARDED)).toBe("ok");
    expect(await bind(pod, proto, "6", "::", GUARDED)).toBe("ok");
  });
});

test("refusals are counted", async () => {
  const before = bed.table.stats()["BIND_REFUSED"] ?? 0;
  await bind(host, "tcp", "4", "0.0.0.0", GUARDED);
  expect(bed.table.stats()["BIND_REFUSED"]).toBe(before + 1);
});

test("the port is free again for those who may have it", async () => {
  await bind(host, "tcp", "4", "0.0.0.0", GUARDED);
  const outsider = bed.outsider("host");
  expect(await bind(outsider, "tcp", "4", "0.0.0.0", GUARDED)).toBe("ok");
});

test("switched off, everything may be bound", async () => {
  const own = await Bed.create({ rodata: { bind_guard: false } });
  try {
    addServices(own);
    expect(await bind(own.actor("host"), "tcp", "4", "0.0.0.0", GUARDED)).toBe("ok");
  } finally {
    await own.close();
  }
});

test("a kernel without bpf_set_retval: bind is refused with EPERM, connect is left untranslated", async () => {
  const own = await Bed.create({ rodata: { have_set_retval: false } });
  try {
    addServices(own);
    const actor = own.actor("host");
    expect(await bind(actor, "tcp", "4", "0.0.0.0", GUARDED)).toBe("EPERM");
    await actor.do("socket 1 tcp 4");
    expect(await actor.ask(`start 1 ${EXTERNAL} 443`)).toBe("EINPROGRESS");
    expect(await actor.ask("finish 1")).toBe("ECONNREFUSED"); // by the kernel: nobody listens there
    expect(own.table.stats()["CONNECT_REJECT"]).toBe(1);
  } finally {
    await own.close();
  }
});
