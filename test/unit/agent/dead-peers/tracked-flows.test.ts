// SPDX-License-Identifier: Apache-2.0
// When a flow is looked for again, and what makes one that was given up on worth another look.

import { beforeEach, describe, expect, test } from "vitest";
import { lossKey, TrackedFlows } from "../../../../src/agent/dead-peers/tracked-flows.ts";
import type { Flow } from "../../../../src/datapath/flows.ts";
import { addressBytes } from "../../../../src/model/address.ts";

const flow = (change: Partial<Flow> = {}): Flow => ({
  cookie: 7n,
  protocol: 17,
  frontendAddress: addressBytes("10.96.0.1"),
  frontendPort: 53,
  backendAddress: addressBytes("10.1.0.1"),
  backendPort: 5353,
  backendId: 3,
  generation: 2,
  serviceId: 1,
  stored: false,
  ...change,
});

const NEVER = () => false;
const NONE = { lost: new Set<number>(), listing: 0 };

let tracked: TrackedFlows;
beforeEach(async () => {
  tracked = new TrackedFlows();
  await tracked.add([flow()], NONE);
});

/** Looked for whenever it is due, without being found. When that was, in milliseconds. */
async function tryOn(everywhere = true): Promise<number[]> {
  const triesMs: number[] = [];
  while (tracked.againMs < Number.POSITIVE_INFINITY) {
    const nowMs = tracked.againMs;
    for (const one of await tracked.take(nowMs, NEVER)) {
      tracked.tried(one, { ended: false, everywhere, nowMs });
      triesMs.push(nowMs);
    }
  }
  return triesMs;
}

/** How often it is looked for when it is found like this. */
async function triesOf(found: Flow, lost: readonly Parameters<typeof lossKey>[0][] = []): Promise<number> {
  await tracked.add([found], { lost: new Set(lost.map(lossKey)), listing: 1 });
  return (await tryOn()).length;
}

test("one that is nowhere to be found is given up on after five looks", async () => {
  expect(tracked.left).toEqual({ 4: 1, 6: 0 });
  expect(await tryOn()).toEqual([0, 100, 500, 2_000, 12_000]);
  expect(tracked.left).toEqual({ 4: 0, 6: 0 });
});

test("one whose socket was ended is looked for once more", async () => {
  for (const one of await tracked.take(0, NEVER)) tracked.tried(one, { ended: true, everywhere: true, nowMs: 0 });
  expect(tracked.left).toEqual({ 4: 0, 6: 0 });
  expect(await tryOn()).toEqual([10_000]);
});

describe("one that was given up on", () => {
  beforeEach(() => tryOn());

  test("is left alone while its record is the same, whoever else is lost", async () => {
    expect(await triesOf(flow(), [flow({ backendId: 4 })])).toBe(0);
    expect(await triesOf(flow(), [flow({ backendId: 4 })])).toBe(0);
  });

  test("is left alone when the next endpoint of that id is lost", async () => {
    expect(await triesOf(flow(), [flow({ generation: 4 })])).toBe(0);
  });

  test("is looked for when its endpoint is lost once more", async () => {
    expect(await triesOf(flow(), [flow()])).toBe(5);
  });

  test.each([{ backendId: 4 }, { generation: 4 }, { serviceId: 2 }, { frontendPort: 54 }, { stored: true }])(
    "is looked for when its record says otherwise: %o",
    async (change) => {
      expect(await triesOf(flow(change))).toBe(5);
    },
  );

  test("may be forgotten", async () => {
    await tracked.sweep(() => true);
    expect(await triesOf(flow())).toBe(5);
  });
});

test("where namespaces cannot be looked at, endpoints are told as long as a flow leads there", async () => {
  const other = flow({ cookie: 8n });
  const tcp = flow({ cookie: 9n, protocol: 6, backendPort: 80 });
  await tracked.add([other, tcp], NONE);
  await tryOn(false);
  expect([...tracked.hidden()]).toEqual([{ address: addressBytes("10.1.0.1"), port: 5353, serviceId: 1 }]);
  expect(tracked.left).toEqual({ 4: 3, 6: 0 });
  await tracked.sweep((one) => one.flow.cookie === 7n);
  expect([...tracked.hidden()]).toHaveLength(1);
  await tracked.sweep((one) => one.flow.cookie === 8n);
  expect([...tracked.hidden()]).toEqual([]);
  expect(tracked.left).toEqual({ 4: 1, 6: 0 });
});

test("a sweep of very many goes on where the last one ended", async () => {
  const many = Array.from({ length: 20_000 }, (_, i) => flow({ cookie: BigInt(100 + i) }));
  await tracked.add(many, NONE);
  const seen = new Map<bigint, number>();
  let sweeps = 0;
  while (seen.size < many.length + 1) {
    sweeps++;
    await tracked.sweep(({ flow: { cookie } }) => {
      seen.set(cookie, (seen.get(cookie) ?? 0) + 1);
      const endMs = performance.now() + 0.005;
      while (performance.now() < endMs);
      return false;
    });
  }
  expect(sweeps).toBeGreaterThan(2);
  expect(Math.max(...seen.values())).toBe(1);
});
