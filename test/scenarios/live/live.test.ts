// SPDX-License-Identifier: Apache-2.0
// Every scenario against live sockets: the real agent follows a folder of manifests, a process of the node and a pod
// call every frontend of every step, and what answers is what the lines say.

import { renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Check, planChecks } from "../../support/checks.ts";
import { markerArrived, markerObjects } from "../../support/marker.ts";
import { expectedOutcome } from "../../support/outcome.ts";
import { Portolan } from "../../support/portolan.ts";
import { loadScenarios, type Manifest, type Scenario, type ScenarioStep } from "../../support/scenario.ts";
import { endpointListeners } from "../../support/scenario-endpoints.ts";
import { Trial } from "../../support/trial.ts";
import { removeAbandoned, World } from "../../support/world.ts";

const scenarios = loadScenarios(resolve("test/scenarios"));

let world: World;
let portolan: Portolan;
let steps = 0;
let calls = 0;
let running = "";

beforeAll(async () => {
  await removeAbandoned("pt-live");
  world = await World.create({ prefix: "pt-live", name: "node" });
  portolan = await Portolan.create(world);
});

afterAll(() => world?.remove());

/** The settings of the agent that a scenario asks for; it is started anew where they differ from those before. */
async function configure(scenario: Scenario): Promise<void> {
  const source = `dir:${portolan.manifests}`;
  const settings = { source, hostnameOverride: scenario.node, externalIpsAllowed: scenario.externalIpsAllowed };
  if (JSON.stringify(settings) === running) return;
  running = JSON.stringify(settings);
  await portolan.start(settings);
}

/** One file for everything there is, renamed into place: each step is read whole. */
async function tell(objects: ReadonlyMap<string, Manifest>): Promise<void> {
  const items = [...objects.values(), ...markerObjects(++steps)];
  const file = join(portolan.manifests, ".next");
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  renameSync(file, join(portolan.manifests, "objects.json"));
  await markerArrived(world, steps);
}

function change(objects: Map<string, Manifest>, step: ScenarioStep): void {
  for (const { kind, key } of step.delete) objects.delete(`${kind} ${key}`);
  for (const manifest of step.apply) {
    objects.set(`${manifest.kind} ${manifest.metadata.namespace}/${manifest.metadata.name}`, manifest);
  }
}

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async (_, scenario) => {
  await configure(scenario);
  await world.setDeviceAddresses(scenario.deviceAddresses);
  await world.serve(endpointListeners(scenario));
  const objects = new Map<string, Manifest>();
  const trial = new Trial(world);
  const seen = new Set<string>();
  for (const step of scenario.steps) {
    if (step.deviceAddresses !== null) await world.setDeviceAddresses(step.deviceAddresses);
    change(objects, step);
    await tell(objects);
    const checks = planChecks(step.expect, seen);
    const wanted = new Map(checks.map((check: Check) => [check.text, expectedOutcome(check)]));
    const outcomes = await trial.step(checks, (check, outcome) => wanted.get(check.text) === outcome);
    expect(Object.fromEntries(outcomes), step.name).toEqual(Object.fromEntries(wanted));
    calls += checks.length;
  }
});

test("the scenarios made enough checks", () => {
  console.log(`${calls} checks in ${scenarios.length} scenarios`);
  expect(calls).toBeGreaterThan(500);
});
