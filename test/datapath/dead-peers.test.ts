// SPDX-License-Identifier: Apache-2.0
// Sockets whose endpoint serves no more, in two network namespaces that are not the agent's: each way gets at them, and
// at no others.

import { readdirSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { queryCgroup } from "libbpf-ts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FailingSends } from "../../src/agent/dead-peers/failing-sends.ts";
import type { Unit } from "../../src/compile/unit.ts";
import { quenchObject } from "../../src/datapath/object-file.ts";
import { Quench } from "../../src/datapath/quench.ts";
import { addressBytes } from "../../src/model/address.ts";
import { eventually } from "../support/daemon.ts";
import { Stall } from "../support/stall.ts";
import { makeUnit } from "../support/units.ts";
import { BACKENDS } from "./bed.ts";
import { DeadPeersBed, KINDS, PORT, SETTLE_MS, VIP } from "./dead-peers-bed.ts";
import { SIZES } from "./hooks.ts";

const ROUNDS = 20;
const WITHIN_MS = 1_000;

let d: DeadPeersBed;
beforeAll(async () => {
  d = await DeadPeersBed.create();
});
beforeEach(() => d.set());
afterEach(() => d.clear());
afterAll(() => d?.close());

const WAYS = ["iterators", "sock-diag", "failing-sends"] as const;

describe.each(WAYS)("by %s", (way) => {
  const error = way === "failing-sends" ? "EPERM" : "ECONNABORTED";

  test(`connected clients answer again within ${WITHIN_MS} ms, ${ROUNDS} of ${ROUNDS} times`, async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a");
    const all = [d.clients("host"), d.clients("pod")];
    await Promise.all(all.map((client) => client.answered(["a"], 0)));
    const stall = new Stall();
    for (const { pid } of all) stall.follow(pid);
    const tookMs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const [now = "", before = ""] = round % 2 === 0 ? ["b", "a"] : ["a", "b"];
      const [sinceMs, stalledMs] = [Date.now(), stall.ms];
      d.program(17, now);
      const moved = await Promise.all(all.map((client) => client.answered([now], sinceMs)));
      const movedMs = Math.max(...moved);
      tookMs.push(movedMs - sinceMs - (stall.ms - stalledMs));
      if (round % 5 !== 4) continue;
      await sleep(WITHIN_MS);
      for (const client of all) expect(client.answerersSince(movedMs + 1)).not.toContain(before);
    }
    stall.stop();
    expect(tookMs.filter((ms) => ms > WITHIN_MS)).toEqual([]);
    expect(all.flatMap((client) => client.errorsSince(0))).toContain(error);
    const { ended, failedSends, failure } = deadPeers.status();
    expect(failure).toBeNull();
    if (way === "failing-sends") expect(failedSends).toBeGreaterThanOrEqual(ROUNDS * 6);
    else expect(ended).toEqual({ 4: ROUNDS * 4, 6: ROUNDS * 2 });
  });

  test("a terminating endpoint keeps its sockets while it serves", async () => {
    d.begin(way);
    d.program(17, "a");
    const client = d.clients("pod");
    await client.answered(["a"], 0);
    d.program(17, "a/s", "b");
    await sleep(SETTLE_MS);
    expect([client.answerersSince(0), client.errorsSince(0)]).toEqual([["a"], []]);
    const sinceMs = Date.now();
    d.program(17, "b");
    await client.answered(["b"], sinceMs);
  });

  test("while nothing serves sockets stay; when something does again, they move", async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a");
    const client = d.clients("pod");
    await client.answered(["a"], 0);
    d.program(17);
    await sleep(SETTLE_MS);
    expect([client.answerersSince(0), client.errorsSince(0), deadPeers.status().stranded]).toEqual([["a"], [], 0]);
    const sinceMs = Date.now();
    d.program(17, "b");
    await client.answered(["b"], sinceMs);
  });

  test("sockets that an earlier agent left are found at the start", async () => {
    d.program(17, "a");
    const client = d.clients("pod");
    await client.answered(["a"], 0);
    d.program(17, "b");
    await sleep(SETTLE_MS);
    expect(client.answerersSince(0)).toEqual(["a"]);
    const sinceMs = Date.now();
    d.begin(way).start(d.programmer.units());
    await client.answered(["b"], sinceMs);
  });

  test("a Service that is deleted takes nobody along; made anew elsewhere it gets its clients back", async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a");
    const client = d.clients("pod");
    await client.answered(["a"], 0);
    const { runs: before } = deadPeers.status();
    d.deleteAll();
    await sleep(SETTLE_MS);
    expect([client.answerersSince(0), client.errorsSince(0), deadPeers.status().runs]).toEqual([["a"], [], before]);
    const sinceMs = Date.now();
    d.program(17, "b");
    await client.answered(["b"], sinceMs);
  });

  test("a Service whose endpoints stay the same moves nobody", async () => {
    const deadPeers = d.begin(way);
    d.program(17, "a", "b");
    const client = d.clients("pod");
    await client.answered(["a", "b"], 0);
    const { runs: before } = deadPeers.status();
    d.program(17, "a", "b/s");
    d.program(17, "a/s", "b");
    d.program(17, "a", "b", "c");
    await sleep(SETTLE_MS);
    expect([client.errorsSince(0), deadPeers.status().runs]).toEqual([[], before]);
  });

  test("sockets that are not on the lost endpoint by this Service are left alone", async () => {
    d.begin(way);
    d.program(17, "a");
    // Another Service with the same endpoint, which goes on.
    const other = makeUnit({
      name: "default/other",
      clusterIp: "10.96.0.2",
      port: 53,
      protocol: 17,
      endpoints: [`${BACKENDS.v4[0]}:${PORT}`],
    });
    d.programmer.apply({ upserted: [other], removed: [] });
    const [inside, outside] = [d.actor("pod"), d.actor("pod", false)];
    const direct = `${BACKENDS.v4[0]} ${PORT}`;
    for (const n of [1, 2, 3, 4, 5, 6]) await inside.do(`socket ${n} udp 4`);
    await inside.do(`connect 1 ${direct}`); // never by the Service
    await inside.do(`connect 2 ${VIP.v4} 53`, `connect 2 ${direct}`); // by it once, directly now
    await inside.do(`connect 3 ${VIP.v4} 53`, "unspec 3", `connect 3 ${BACKENDS.v4[2]} ${PORT}`);
    await inside.do("connect 4 10.96.0.2 53");
    await inside.do(`sendto 5 ${VIP.v4} 53 x`, "recvfrom 5");
    await inside.do(`connect 6 ${VIP.v4} 53`, "unspec 6");
    await outside.do("socket 1 udp 4", `connect 1 ${direct}`);
    d.program(17, "b");
    await sleep(SETTLE_MS);
    for (const n of [1, 2, 4]) expect(await inside.do(`send ${n} x`, `read ${n}`)).toBe("a:x");
    expect(await inside.do("send 3 x", "read 3")).toBe("c:x");
    // Not connected: it chooses anew by itself.
    expect(await inside.do(`sendto 5 ${VIP.v4} 53 x`, "recvfrom 5")).toBe(`b:x ${VIP.v4} 53`);
    expect(await inside.do(`sendto 6 ${direct} x`, "recvfrom 6")).toMatch(/^a:x /);
    expect(await outside.do("send 1 x", "read 1")).toBe("a:x");
  });

  test("a TCP connection stays", async () => {
    d.begin(way);
    d.program(6, "a");
    const client = d.actor("pod");
    await client.do("socket 1 tcp 4", `connect 1 ${VIP.v4} 53`, "read 1");
    d.program(6, "b");
    await sleep(SETTLE_MS);
    expect(await client.ask("send 1 x")).toBe("ok");
    expect(d.deadPeers.status().runs).toBe(0);
  });
});

describe.each(["iterators", "sock-diag"] as const)("TCP by %s", (way) => {
  test.each(KINDS)("$name: ended if asked for", async ({ socket, family, mapped }) => {
    d.begin(way, true);
    d.program(6, "a");
    const client = d.actor("pod");
    const direct = `${mapped}${BACKENDS[family][0]} ${PORT}`;
    await client.do(`socket 1 tcp ${socket}`, `connect 1 ${mapped}${VIP[family]} 53`, "read 1");
    await client.do(`socket 2 tcp ${socket}`, `connect 2 ${direct}`, "read 2");
    d.program(6, "b");
    await eventually("the end", async () => ((await client.ask("read 1")) === "ECONNABORTED" ? true : undefined));
    await sleep(SETTLE_MS);
    expect(await client.ask("send 2 x")).toBe("ok");
  });
});

test("changes in every turn of the event loop do not keep a socket waiting", async () => {
  d.begin("iterators");
  d.program(17, "a");
  const client = d.clients("pod");
  await client.answered(["a"], 0);
  const noise = (n: number): Unit =>
    makeUnit({ name: "default/noise", clusterIp: "10.96.0.9", protocol: 17, endpoints: [`10.1.0.${n % 200}:53`] });
  const sinceMs = Date.now();
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    d.programmer.apply({ upserted: [noise(++turns)], removed: [] });
    if (!isOver) setImmediate(turn);
  };
  d.program(17, "b");
  turn();
  await client.answered(["b"], sinceMs);
  await eventually("many turns", () => (turns > 500 ? true : undefined));
  isOver = true;
  // Ten passes a second at most, each with a run for one family or both.
  expect(d.runs.length).toBeLessThan(4 + (2 * (Date.now() - sinceMs)) / 100);
});

describe("what a client that does not care costs", () => {
  test("its socket is looked for a few times, and not for ever", async () => {
    const deadPeers = d.begin("iterators");
    d.program(17, "a");
    const client = d.clients("pod", { keep: true });
    await client.answered(["a"], 0);
    d.program(17, "b");
    await eventually("its end", () => (deadPeers.status().ended[4] === 2 ? true : undefined));
    await sleep(SETTLE_MS);
    expect(d.runs.filter(({ ended }) => ended > 0)).toHaveLength(2);
    expect(deadPeers.status()).toMatchObject({ stranded: 0, failure: null, failingEndpoints: 0 });
  });
});

describe("failing sends", () => {
  const egress = (): number[] => queryCgroup(d.bed.cgroup, "cgroup_inet_egress").programIds;

  test("the program is there only while a socket needs it", async () => {
    const deadPeers = d.begin("failing-sends");
    d.program(17, "a");
    const client = d.clients("pod", { keep: true });
    await client.answered(["a"], 0);
    expect(egress()).toEqual([]);
    d.program(17, "b");
    await eventually("a failed send", () => (deadPeers.status().failedSends > 0 ? true : undefined));
    expect(egress()).toHaveLength(1);
    expect(deadPeers.status()).toMatchObject({ stranded: 3, failingEndpoints: 2 });
    await client.stop();
    await eventually("no program", () => (egress().length === 0 ? true : undefined));
    expect(deadPeers.status()).toMatchObject({ stranded: 0, failingEndpoints: 0 });
  });

  test("it goes when the endpoint serves again, and with the agent", async () => {
    d.begin("failing-sends");
    d.program(17, "a");
    const client = d.clients("pod", { keep: true });
    await client.answered(["a"], 0);
    d.program(17, "b");
    await eventually("the program", () => (egress().length === 1 ? true : undefined));
    d.program(17, "a", "b");
    const sinceMs = Date.now();
    await eventually("no program", () => (egress().length === 0 ? true : undefined));
    await client.answered(["a"], sinceMs);
    d.program(17, "b");
    await eventually("the program", () => (egress().length === 1 ? true : undefined));
    await d.end();
    expect(egress()).toEqual([]);
  });

  test("no endpoint's sends fail for longer than the time given", async () => {
    using quench = new Quench({
      objectFile: quenchObject(),
      cgroup: d.bed.cgroup,
      maps: (name) => d.bed.object.map(name),
      constants: { sockets_mask: (SIZES["pt_sockets"] ?? 1) - 1 },
    });
    const sends = new FailingSends(quench, 200);
    const gone = { address: addressBytes(BACKENDS.v4[0]), port: PORT, serviceId: 1 };
    const other = { ...gone, port: 1 };
    await sends.fail([gone]);
    expect([egress().length, sends.endpoints]).toEqual([1, 1]);
    await sleep(250);
    await sends.fail([gone, other]);
    expect([egress().length, sends.endpoints]).toEqual([1, 1]);
    await sends.fail([gone]);
    expect([egress().length, sends.endpoints, sends.againMs]).toEqual([0, 0, Number.POSITIVE_INFINITY]);
    // Once nobody asks, its time begins anew.
    await sends.fail([]);
    await sends.fail([gone]);
    expect(sends.endpoints).toBe(1);
    await sleep(250);
    await sends.fail([gone]);
    expect(sends.endpoints).toBe(0);
    // And when it is lost once more.
    sends.renew(other);
    await sends.fail([gone]);
    expect(sends.endpoints).toBe(0);
    sends.renew(gone);
    await sends.fail([gone]);
    expect(sends.endpoints).toBe(1);
  });
});

test("nothing is left open", async () => {
  const files = (): number => readdirSync("/proc/self/fd").length;
  d.program(17, "a");
  const client = d.clients("pod");
  await client.answered(["a"], 0);
  await d.begin("sock-diag").stop();
  await d.end();
  const inode = statSync("/proc/self/ns/net").ino;
  const counts = [files()];
  // What tests before this one let go of may be collected in one round; what a round leaves open adds up in each.
  do {
    for (const [i, way] of [...WAYS, ...WAYS].entries()) {
      d.begin(way);
      const sinceMs = Date.now();
      const now = i % 2 === 0 ? "b" : "a";
      d.program(17, now);
      await client.answered([now], sinceMs);
      await d.end();
    }
    counts.push(files());
  } while (counts.at(-1) !== counts.at(-2) && counts.length < 5);
  expect(counts.at(-1), `${counts}`).toBe(counts.at(-2));
  expect(statSync("/proc/self/ns/net").ino).toBe(inode);
});
