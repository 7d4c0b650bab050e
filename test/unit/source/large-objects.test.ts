// SPDX-License-Identifier: Apache-2.0
// Services as large as the API server takes them: what one costs grows with its size and no faster, one that asks for more
// frontends than anybody can want is refused whole, and what is said of it has an end.

import { expect, test } from "vitest";
import { Compiler } from "../../../src/compile/compile.ts";
import type { CompileOptions } from "../../../src/compile/frontends.ts";
import { Store } from "../../../src/model/store.ts";
import type { Problem } from "../../../src/model/types.ts";
import { decodeService } from "../../../src/source/decode/decode.ts";
import { facts, options } from "../compile/objects.ts";

/**
 * What these take is a few tens of milliseconds, two hundred at most; with each item compared with each other it is
 * seconds. By the processor's time, since others may be running beside this test, and by its pace.
 */
const WELL_BELOW_SECONDS_US = Math.max(800_000, 8 * paceUs());

/** What this processor takes for work of that kind: about 100 ms on a fast one. */
function paceUs(): number {
  const before = process.threadCpuUsage();
  const seen = new Map<string, number>();
  for (let i = 0; i < 250_000; i++) seen.set(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, i);
  const { user, system } = process.threadCpuUsage(before);
  return user + system;
}

const ports = (count: number): object[] =>
  Array.from({ length: count }, (_, i) => ({ name: `p${i}`, port: i + 1, protocol: "TCP" }));
const addresses = (count: number): string[] => Array.from({ length: count }, (_, i) => `192.2.${i >> 8}.${i & 255}`);
const service = (spec: object): object => ({
  metadata: { name: "big", namespace: "ns" },
  spec: { clusterIP: "10.96.0.1", ...spec },
});

function timed<T>(act: () => T): T {
  const before = process.threadCpuUsage();
  const result = act();
  const { user, system } = process.threadCpuUsage(before);
  expect(user + system).toBeLessThan(WELL_BELOW_SECONDS_US);
  return result;
}

function compiled(object: object, change: Partial<CompileOptions> = {}) {
  const store = new Store();
  store.service("ns/big", timed(() => decodeService(object)).object, 1n);
  store.synced("services");
  store.synced("endpointslices");
  const compiler = new Compiler(facts(), options(change));
  const update = () => timed(() => compiler.update(store, ["ns/big"]));
  const first = update();
  const again = update();
  const problems: readonly Problem[] = first.problems.get("ns/big") ?? [];
  return { first, again, problems };
}

test("20,000 ports: a unit each, and none of them anew when nothing has changed", () => {
  const { first, again, problems } = compiled(service({ ports: ports(20_000) }));
  expect([first.upserted.length, again.upserted.length, problems.length]).toEqual([20_000, 0, 0]);
});

test("20,000 external addresses with as many source ranges", () => {
  const list = addresses(20_000);
  const ranges = list.map((address) => `${address}/32`);
  const { first, problems } = compiled(
    service({ externalIPs: list, loadBalancerSourceRanges: ranges, ports: [{ port: 80 }] }),
  );
  expect([first.upserted[0]?.frontends.length, problems.length]).toEqual([20_001, 0]);
});

test("5,000 ports at a load balancer's address with as many source ranges: the ranges are read once", () => {
  const loadBalancerSourceRanges = addresses(5_000).map((address) => `${address}/32`);
  const spec = { type: "LoadBalancer", loadBalancerSourceRanges, ports: ports(5_000) };
  const { first } = compiled({ ...service(spec), status: { loadBalancer: { ingress: [{ ip: "203.0.113.1" }] } } });
  expect(first.upserted.length).toBe(5_000);
  expect(new Set(first.upserted.map(({ sourceRanges }) => sourceRanges)).size).toBe(1);
});

test("4,000,000 frontends of a Service of 150 KB: refused whole, said once", () => {
  const { first, problems } = compiled(service({ externalIPs: addresses(2_000), ports: ports(2_000) }));
  expect(first.upserted).toEqual([]);
  expect(problems).toEqual([
    {
      kind: "Service",
      key: "ns/big",
      field: "spec.ports",
      reason: "2000 ports at 2001 addresses are more frontends than the 32768 that a Service may have: none is served",
      event: "FrontendRefused",
    },
  ]);
});

test("20,000 addresses that are refused: some are named, the others counted", () => {
  const refused = { allowServiceExternalIps: false };
  const { problems } = compiled(service({ externalIPs: addresses(20_000), ports: [{ port: 80 }] }), refused);
  expect(problems.length).toBe(65);
  expect(problems.at(-1)).toEqual({ kind: "Service", key: "ns/big", field: "", reason: "and 19936 more problems" });
});
