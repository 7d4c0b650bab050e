// SPDX-License-Identifier: Apache-2.0
// Endpoints that come back. While what was sent to them still fails: sockets that connect to them now are not those
// that were left. And a socket that was ended, led there again and left once more, is ended again.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { eventually } from "../support/daemon.ts";
import { DeadPeersBed, VIP } from "./dead-peers-bed.ts";

let d: DeadPeersBed;
beforeAll(async () => {
  d = await DeadPeersBed.create();
});
beforeEach(() => d.set());
afterEach(() => d.clear());
afterAll(() => d?.close());

/** Chosen at random: all of them miss one of two endpoints once in 8 million times. */
const SOCKETS = Array.from({ length: 24 }, (_, n) => n + 1);

test.each([
  { before: "gone", meanwhile: ["b"] },
  { before: "there without serving", meanwhile: ["a/-", "b"] },
])("sends of new sockets reach an endpoint that is back, $before before", async ({ meanwhile }) => {
  const deadPeers = d.begin("failing-sends");
  d.program(17, "a");
  const left = d.clients("pod", { keep: true });
  await left.answered(["a"], 0);
  d.program(17, ...meanwhile);
  await eventually("a failed send", () => (deadPeers.status().failedSends > 0 ? true : undefined));
  const client = d.actor("pod");
  d.program(17, "a", "b");
  const answers: string[] = [];
  for (const n of SOCKETS) {
    await client.do(`socket ${n} udp 4`, `connect ${n} ${VIP.v4} 53`);
    answers.push((await client.ask(`send ${n} x`)) === "ok" ? await client.ask(`read ${n}`) : "failed");
  }
  expect(new Set(answers)).toEqual(new Set(["ok a:x", "ok b:x"]));
});

test.each(["iterators", "sock-diag"] as const)(
  "%s: a socket that was ended is ended again, also if nothing serves when its endpoint goes",
  async (way) => {
    d.begin(way);
    const client = d.actor("pod");
    const ended = (): Promise<string> =>
      eventually("its end", async () => ((await client.ask("read 1")) === "ECONNABORTED" ? "ended" : undefined));
    d.program(17, "a");
    await client.do("socket 1 udp 4", `connect 1 ${VIP.v4} 53`);
    d.program(17, "a/-", "b");
    await ended();
    d.program(17, "a/-");
    d.program(17, "a");
    await sleep(300);
    await client.do(`connect 1 ${VIP.v4} 53`);
    expect(await client.do("send 1 x", "read 1")).toBe("a:x");
    d.program(17, "a/-");
    await sleep(300);
    d.program(17, "a/-", "b");
    await ended();
  },
);
