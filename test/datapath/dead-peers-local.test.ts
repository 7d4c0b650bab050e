// SPDX-License-Identifier: Apache-2.0
// internalTrafficPolicy Local: a socket that was connected while this node had no endpoint leads nowhere. It is told of
// the first one here as one whose endpoint has gone is, and of nothing before.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { frontend, makeUnit } from "../support/units.ts";
import { BACKENDS } from "./bed.ts";
import { DeadPeersBed, PORT, SETTLE_MS, VIP } from "./dead-peers-bed.ts";

let d: DeadPeersBed;
beforeAll(async () => {
  d = await DeadPeersBed.create();
});
beforeEach(() => d.set());
afterEach(() => d.clear());
afterAll(() => d?.close());

/** Endpoints by their letters, with their flags behind: "a/cs" is elsewhere, "b/cls" here. */
function program(letters: readonly string[], internalLocal = true): void {
  const units = (["v4", "v6"] as const).map((family) =>
    makeUnit({
      name: "default/dns",
      protocol: 17,
      family: family === "v4" ? 4 : 6,
      frontends: [frontend("clusterIP", VIP[family], 53, internalLocal)],
      emptyLocal: "drop",
      endpoints: letters.map((text) => {
        const [letter = "", flags] = text.split("/");
        const address = BACKENDS[family]["abc".indexOf(letter)] ?? "";
        return `${family === "v6" ? `[${address}]` : address}:${PORT}/${flags}`;
      }),
    }),
  );
  d.programmer.apply({ upserted: units, removed: [] });
}

describe.each(["iterators", "sock-diag", "failing-sends"] as const)("by %s", (way) => {
  test("a socket that led nowhere is answered by the first endpoint here", async () => {
    d.begin(way);
    program(["a/cs", "c/cs"]);
    const client = d.clients("pod");
    await sleep(SETTLE_MS);
    program(["a/cs"]);
    await sleep(SETTLE_MS);
    expect([client.answerersSince(0), client.errorsSince(0)]).toEqual([[], []]);
    const sinceMs = Date.now();
    program(["a/cs", "b/cls"]);
    await client.answered(["b"], sinceMs);
  });

  test("it is answered as soon as policy asks for no endpoint here any more", async () => {
    d.begin(way);
    program(["a/cs"]);
    const client = d.clients("pod");
    await sleep(SETTLE_MS);
    const sinceMs = Date.now();
    program(["a/cs"], false);
    await client.answered(["a"], sinceMs);
  });

  test("one that is on the endpoint here stays while that serves, though the policy's set is empty", async () => {
    d.begin(way);
    program(["a/cs", "b/cls"]);
    const client = d.clients("pod");
    await client.answered(["b"], 0);
    program(["a/cs", "b/s"]);
    await sleep(SETTLE_MS);
    expect([client.answerersSince(0), client.errorsSince(0)]).toEqual([["b"], []]);
  });
});
