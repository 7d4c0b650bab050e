// SPDX-License-Identifier: Apache-2.0
// Endpoints that come back while what was sent to them still fails: sockets that connect to them now are not those
// that were left.

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

/** Chosen at random: all of them miss one of two endpoints once in 65,000 times. */
const SOCKETS = Array.from({ length: 16 }, (_, n) => n + 1);

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
