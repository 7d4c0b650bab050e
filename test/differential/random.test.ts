// SPDX-License-Identifier: Apache-2.0
// Random worlds, each of many Services with a history: the decision for every call, read from portolan's maps in the
// kernel and from the rules that the real kube-proxy made of the same objects.
//
// DIFFERENTIAL_SEED=7 plays other worlds, DIFFERENTIAL_WORLDS=200 more of them, DIFFERENTIAL_STEPS=10 longer histories,
// DIFFERENTIAL_SERVICES=100 larger ones; each world's seed is told, and plays it alone. DIFFERENTIAL_CONFIG is JSON: fields
// of a KubeProxyConfiguration for both.

import { afterAll, beforeAll, expect, test } from "vitest";
import type { ApiObject } from "./api-client.ts";
import { Cluster, NODE } from "./cluster.ts";
import type { Call, Decision } from "./decision.ts";
import { Comparer, count } from "./random-comparison.ts";
import { RandomDifferences, REASONS, type Reason } from "./random-differences.ts";
import { NAMESPACE } from "./random-services.ts";
import { RandomWorld, type WorldStep } from "./random-world.ts";

const setting = (name: string, otherwise: number): number => Number(process.env[`DIFFERENTIAL_${name}`] ?? otherwise);
const SEED = setting("SEED", 1);
const WORLDS = setting("WORLDS", 3);
const STEPS = setting("STEPS", 3);
const SERVICES = setting("SERVICES", 70);

let cluster: Cluster;
let comparer: Comparer;
const sums = { steps: 0, services: 0, slices: 0, refused: 0, calls: 0 };
const answers = new Map<string, number>();
const explained = new Map<Reason, number>();

beforeAll(async () => {
  cluster = await Cluster.create(
    ["portolan", "nftables"],
    JSON.parse(process.env["DIFFERENTIAL_CONFIG"] ?? "{}") as object,
  );
  comparer = new Comparer(cluster);
});

afterAll(() => cluster?.remove());

async function play(step: WorldStep): Promise<readonly string[]> {
  const { zone } = step;
  await cluster.labelNode(zone === "" ? {} : { "topology.kubernetes.io/zone": zone });
  sums.refused += await cluster.changeAtOnce(step);
  const found = await comparer.compare(zone);
  const { services, slices } = await comparer.objects();
  sums.steps++;
  sums.services += services.length;
  sums.slices += slices.length;
  sums.calls += found.calls;
  for (const [answer, times] of found.answers) count(answers, answer, times);
  for (const [reason, times] of found.explained) count(explained, reason, times);
  return found.unexplained;
}

/** Everything of the world before goes in the first step of the next. */
async function leftovers(): Promise<ApiObject[]> {
  const { services, slices } = await comparer.objects();
  const objects = [
    ...services.map((one) => ["Service", one] as const),
    ...slices.map((one) => ["EndpointSlice", one] as const),
  ];
  // The API server has a Service of its own.
  return objects
    .filter(([, { metadata }]) => metadata.name !== "kubernetes")
    .map(
      ([
        kind,
        {
          metadata: { name },
        },
      ]) => ({ kind, metadata: { name, namespace: NAMESPACE } }),
    );
}

const seeds = Array.from({ length: WORLDS }, (_, world) => SEED + world);

test.each(seeds)("world %i: every decision is kube-proxy's, or explained", { timeout: 600_000 }, async (seed) => {
  const world = new RandomWorld(seed, SERVICES);
  for (let number = 0; number <= STEPS; number++) {
    const step = number === 0 ? { ...world.begin(), remove: await leftovers() } : world.next();
    const unexplained = await play(step);
    expect(unexplained, `world ${seed}, step ${number}`).toEqual([]);
  }
});

test("what nothing in the world explains is unexplained", () => {
  const empty = { node: NODE, zone: "", primaryAddresses: [], podRanges: [], serviceRanges: [], deviceAddresses: [] };
  const differences = new RandomDifferences({ ...empty, services: [], slices: [] }, []);
  const call: Call = { from: "pod", source: "10.244.1.99", address: "10.96.0.10", port: 80, protocol: "TCP" };
  const found: Decision = { answer: "endpoints", endpoints: ["10.244.1.2:8080"], affinitySec: 0 };
  for (const answer of ["reject", "drop", "nothing"] as const) {
    expect(differences.explain(call, { answer }, found)).toBe(null);
    expect(differences.explain(call, found, { answer })).toBe(null);
  }
});

test("every answer was met from every caller", () => {
  const lines = [...answers].sort().map(([answer, times]) => `${String(times).padStart(8)} × ${answer}`);
  const reasons = [...explained].map(([reason, times]) => `${String(times).padStart(8)} × ${REASONS[reason]}`);
  const { steps, services, slices, refused, calls } = sums;
  const equal = [...answers.values()].reduce((sum, times) => sum + times, 0);
  const differing = [...explained.values()].reduce((sum, times) => sum + times, 0);
  console.log(
    [
      ...lines,
      ...reasons,
      `${WORLDS} worlds from seed ${SEED} in ${steps} steps: ${services} Services and ${slices} EndpointSlices (${refused} refused by the API server)`,
      `${calls} decisions for ${NODE}: ${equal} equal, ${differing} explained, ${calls - equal - differing} unexplained`,
    ].join("\n"),
  );
  const kinds = ["host", "pod", "elsewhere"].flatMap((from) =>
    ["endpoints", "reject", "drop", "nothing"].map((answer) => `${from}: ${answer}`),
  );
  expect(kinds.filter((kind) => (answers.get(kind) ?? 0) < 10)).toEqual([]);
});
