// SPDX-License-Identifier: Apache-2.0
// The same scenarios, the same real API server, the same calls: portolan beside the real kube-proxy, check by check.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planChecks } from "../support/checks.ts";
import { loadScenarios, parseScenario, type Scenario } from "../support/scenario.ts";
import { endpointListeners } from "../support/scenario-endpoints.ts";
import { runStep, Trial } from "../support/trial.ts";
import { Refused } from "./api-client.ts";
import { Cluster, NODE } from "./cluster.ts";
import { PORTOLAN_DIFFERS } from "./differences.ts";
import { REASONS } from "./random-differences.ts";
import { ComparisonTally, type Outcomes } from "./tally.ts";

const scenarios = loadScenarios(resolve("test/scenarios"));
const tally = new ComparisonTally();
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.create();
});

afterAll(() => cluster?.remove());

const plain = parseScenario("plain", "steps: []")[0]?.settings;

/** Why a scenario is not for all of these proxies as they run; null: it is. */
function whyNot({ settings, node }: Scenario): string | null {
  if (node !== NODE) return "a node of another name";
  return isDeepStrictEqual(settings, plain) ? null : "settings that kube-proxy does not have";
}

const named = ([portolan = "", nftables = "", iptables = ""]: readonly string[]): Outcomes => ({
  portolan,
  nftables,
  iptables,
});

async function compare(scenario: Scenario): Promise<void> {
  const { name } = scenario;
  const listeners = endpointListeners(scenario);
  const trials = cluster.worlds.map((world) => new Trial(world));
  const seen = new Set<string>();
  let { deviceAddresses } = scenario;
  for (const step of scenario.steps) {
    deviceAddresses = step.deviceAddresses ?? deviceAddresses;
    const addresses = deviceAddresses;
    await Promise.all(cluster.worlds.map((world) => world.setAddresses(addresses, listeners)));
    await cluster.change(step.apply, step.delete);
    const answering = [...deviceAddresses, ...listeners.map(({ address }) => address)];
    const checks = planChecks(step.expect, { answering, seen });
    const outcomes = await runStep(trials, checks, (check, tried) =>
      ComparisonTally.settled(name, check, named(tried)),
    );
    for (const [check, tried] of outcomes) tally.add(step.name, check, named(tried));
  }
}

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async (name, scenario) => {
  const reason = whyNot(scenario);
  if (reason !== null) {
    tally.leaveOut(name, reason);
    return;
  }
  const before = tally.unexplained.length;
  tally.begin(name);
  try {
    await compare(scenario);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tally.leaveOut(name, `the API server will not have it: ${error.message}`);
  } finally {
    await cluster.clear();
  }
  const unexplained = tally.unexplained.slice(before);
  if (unexplained.length > 0) throw new Error(unexplained.join("\n"));
});

test("what no entry allows is unexplained", () => {
  const twin = new ComparisonTally();
  const [check] = planChecks(["a/b TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080"], {
    answering: [],
    seen: new Set(),
  });
  if (check === undefined) throw new Error("nothing was planned");
  const outcomes: Outcomes = { portolan: "refused", nftables: "10.244.1.2:8080", iptables: "silent" };
  twin.begin("twin");
  twin.add("step", check, { ...outcomes, portolan: outcomes.nftables, iptables: outcomes.nftables });
  expect(twin.unexplained).toEqual([]);
  twin.add("step", check, outcomes);
  expect(twin.unexplained).toHaveLength(2);
  expect(ComparisonTally.settled("twin", check, outcomes)).toBe(false);
  expect(twin.unused()).not.toEqual([]);
});

test("at least 150 checks in 40 scenarios were compared, and every allowed difference was met", () => {
  console.log(tally.report());
  expect(tally.rows.length).toBeGreaterThanOrEqual(40);
  expect(tally.sum.checks).toBeGreaterThanOrEqual(150);
  expect(tally.unused()).toEqual([]);
});

test("every allowed difference is in docs/differences.md", () => {
  const rows = readFileSync("docs/differences.md", "utf8").split("\n");
  const allowed = [...PORTOLAN_DIFFERS.map(({ what }) => what), ...Object.values(REASONS)];
  expect(allowed.filter((what) => !rows.some((row) => row.startsWith(`| ${what} |`)))).toEqual([]);
});
