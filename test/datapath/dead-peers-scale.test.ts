// SPDX-License-Identifier: Apache-2.0
// 5,000 connected sockets in 50 network namespaces lose their endpoint, at once and while it comes and goes: all of them
// hear of it, and nobody else does.

import { execFileSync } from "node:child_process";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../support/daemon.ts";
import { Actor } from "./actor.ts";
import { BACKENDS } from "./bed.ts";
import { DeadPeersBed, PORT, VIP } from "./dead-peers-bed.ts";

const NAMESPACES = 50;
const SOCKETS = 100;
const WIRE = "link set lo up\naddr add 10.8.0.1/32 dev lo\nroute add default dev lo\n";

let d: DeadPeersBed;
let clients: Actor[] = [];
let names: string[] = [];

const ip = (lines: readonly string[]): void => {
  execFileSync("ip", ["-batch", "-"], { input: lines.join("\n") });
};

beforeAll(async () => {
  d = await DeadPeersBed.create(65_536);
  names = Array.from({ length: NAMESPACES }, (_, i) => `${basename(d.bed.cgroup)}-many${i}`);
  ip(names.map((name) => `netns add ${name}`));
  // A way to anywhere: nothing is sent.
  for (const name of names) execFileSync("ip", ["-netns", name, "-batch", "-"], { input: WIRE });
});
beforeEach(async () => {
  await d.set();
  clients = names.map((netns) => new Actor({ program: d.bed.program, netns, cgroup: d.bed.cgroup }));
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.kill()));
  await d.clear();
});
afterAll(async () => {
  ip(names.map((name) => `netns del ${name}`));
  await d?.close();
});

/** Every process opens its sockets: one on the endpoint itself, the others by the Service. */
async function connectAll(): Promise<void> {
  await Promise.all(
    clients.map(async (client) => {
      await client.do("socket 0 udp 4", `connect 0 ${BACKENDS.v4[0]} ${PORT}`);
      for (let n = 1; n <= SOCKETS; n++) await client.do(`socket ${n} udp 4`, `connect ${n} ${VIP.v4} 53`);
    }),
  );
}

/** Every socket is told; none of those that called nobody is. */
async function allEnded(): Promise<void> {
  const answers = await Promise.all(clients.map((client) => client.ask(`ended 1 ${SOCKETS}`)));
  expect(new Set(answers)).toEqual(new Set(["ok"]));
  expect(new Set(await Promise.all(clients.map((client) => client.ask("peer 0"))))).toEqual(
    new Set([`ok ${BACKENDS.v4[0]} ${PORT}`]),
  );
}

describe.each(["iterators", "sock-diag"] as const)("by %s", (way) => {
  test(`${NAMESPACES * SOCKETS} sockets in ${NAMESPACES} namespaces`, async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a");
    await connectAll();
    d.program(17, "b");
    await allEnded();
    await eventually("the end of the pass", () => (deadPeers.status().stranded === 0 ? true : undefined));
    expect(deadPeers.status()).toMatchObject({ ended: { 4: NAMESPACES * SOCKETS }, failure: null });
  });

  test("an endpoint that is gone, back and gone again within a tenth of a second, ten times over", async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a");
    await connectAll();
    for (let i = 0; i < 10; i++) {
      d.program(17, "b");
      await sleep(i % 5 === 0 ? 120 : 30);
      if (i < 9) d.program(17, "a", "b");
      await sleep(30);
    }
    await allEnded();
    await eventually("the end of the pass", () => (deadPeers.status().stranded === 0 ? true : undefined));
    expect(deadPeers.status().failure).toBeNull();
  });
});
