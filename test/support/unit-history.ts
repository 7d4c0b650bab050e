// SPDX-License-Identifier: Apache-2.0
// Random histories of desired units: few names, addresses and endpoints, so that they collide, move and come back.

import fc from "fast-check";
import type { Frontend, Unit, UnitRanges } from "../../src/compile/unit.ts";
import { PREFIXES } from "./range-guard.ts";
import { frontend, makeUnit } from "./units.ts";

interface Spec {
  readonly name: string;
  readonly clusterIp: number;
  readonly external: readonly number[];
  readonly nodePort: number | null;
  readonly local: boolean;
  readonly endpoints: readonly string[];
  readonly emptyLocal: "reject" | "drop";
  readonly affinitySec: number;
  readonly udp: boolean;
  readonly sourceRanges: UnitRanges | null;
}

const NAMES = ["a/web:http", "a/web:dns", "b/api", "c/db:sql", "c/cache:c"];

const endpoint = fc
  .tuple(fc.integer({ min: 1, max: 14 }), fc.constantFrom("cs", "cs", "cls", "cls", "ls", "s", "c", "cl"))
  .map(([host, flags]) => `10.1.0.${host}:8080/${flags}`);

const ranges: fc.Arbitrary<UnitRanges> = fc.record({
  allowHost: fc.boolean(),
  allowPods: fc.boolean(),
  prefixes: fc.subarray([...PREFIXES]),
});

const spec: fc.Arbitrary<Spec> = fc.record({
  name: fc.constantFrom(...NAMES),
  clusterIp: fc.integer({ min: 1, max: 4 }),
  external: fc.uniqueArray(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
  nodePort: fc.option(fc.constantFrom(30001, 30002)),
  local: fc.boolean(),
  endpoints: fc.uniqueArray(endpoint, { maxLength: 12, size: "max", selector: (text) => text.split("/")[0] }),
  emptyLocal: fc.constantFrom("reject", "drop"),
  affinitySec: fc.constantFrom(0, 10800),
  udp: fc.boolean(),
  sourceRanges: fc.option(ranges),
});

/** Each step is the whole of what is asked for: units in which no two have a frontend in common. */
export const history: fc.Arbitrary<Unit[][]> = fc.array(
  fc.uniqueArray(spec, { maxLength: NAMES.length, selector: ({ name }) => name }).map(resolve),
  { minLength: 1, maxLength: 6 },
);

/** The first one keeps a frontend that several want; who has none left is no unit. */
function resolve(specs: readonly Spec[]): Unit[] {
  const taken = new Set<string>();
  const units = specs.map((wanted) => {
    const protocol = wanted.udp ? 17 : 6;
    const frontends = frontendsOf(wanted).filter(({ role, address, port }) => {
      const key = `${role === "nodePort" ? "" : address}|${port}|${protocol}`;
      return !taken.has(key) && taken.add(key);
    });
    const { name, endpoints, emptyLocal, affinitySec } = wanted;
    const sourceRanges = frontends.some(({ role }) => role === "loadBalancer") ? wanted.sourceRanges : null;
    return makeUnit({ name, endpoints, emptyLocal, affinitySec, sourceRanges, frontends, protocol, family: 4 });
  });
  return units.filter((unit) => unit.frontends.length > 0);
}

function frontendsOf({ clusterIp, external, nodePort, local }: Spec): Frontend[] {
  return [
    frontend("clusterIP", `10.96.0.${clusterIp}`, 80, local),
    ...external.map((host) => frontend(host === 3 ? "loadBalancer" : "externalIP", `192.0.2.${host}`, 80, local)),
    ...(nodePort === null ? [] : [frontend("nodePort", "", nodePort, local)]),
  ];
}

/** The delta from one step to the next. */
export function deltaOf(before: readonly Unit[], after: readonly Unit[]): { upserted: Unit[]; removed: string[] } {
  const text = (unit: Unit): string => JSON.stringify({ ...unit, endpoints: [...unit.endpoints] });
  const old = new Map(before.map((unit) => [unit.key, text(unit)]));
  const keys = new Set(after.map(({ key }) => key));
  return {
    upserted: after.filter((unit) => old.get(unit.key) !== text(unit)),
    removed: before.map(({ key }) => key).filter((key) => !keys.has(key)),
  };
}
