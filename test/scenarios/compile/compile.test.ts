// SPDX-License-Identifier: Apache-2.0
// Every scenario through store and compile: in both event orders, compiling after every event and once a step, and
// after every step again from nothing.

import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import type { Unit, UnitDelta } from "../../../src/compile/unit.ts";
import type { Problem } from "../../../src/model/types.ts";
import { loadScenarios, parseScenario, problemLine, type Scenario, unitLines } from "../../support/scenario.ts";
import { EVENT_ORDERS, eventsOf, type ScenarioEvent, ScenarioNode } from "../../support/scenario-node.ts";

const scenarios = loadScenarios(resolve("test/scenarios"));

/** The stages of an agent, and what the one behind would have made of their deltas. */
class Node {
  readonly units = new Map<string, Unit>();
  readonly #stages: ScenarioNode;
  readonly #problems = new Map<string, readonly Problem[]>();

  constructor(scenario: Scenario) {
    this.#stages = new ScenarioNode(scenario);
  }

  deliver(event: ScenarioEvent): void {
    this.#problems.set(`decode ${event.kind} ${event.key}`, event.problems);
    this.#stages.deliver(event);
  }

  setDeviceAddresses(addresses: readonly string[]): void {
    this.#stages.setDeviceAddresses(addresses);
  }

  compile(): void {
    this.#take(this.#stages.compile());
  }

  compileAll(): UnitDelta {
    return this.#stages.compileAll();
  }

  problemLines(): string[] {
    return [...this.#problems.values()].flat().map(problemLine).sort();
  }

  #take(delta: UnitDelta): void {
    for (const key of delta.removed) expect(this.units.delete(key), `${key} was there`).toBe(true);
    for (const unit of delta.upserted) this.units.set(unit.key, unit);
    for (const [key, problems] of delta.problems) this.#problems.set(`compile ${key}`, problems);
  }
}

describe.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", (_, scenario) => {
  for (const order of EVENT_ORDERS) {
    for (const batch of ["an event", "a step"]) {
      test(`${order}, compiled once ${batch}`, () => {
        const node = new Node(scenario);
        for (const step of scenario.steps) {
          if (step.deviceAddresses !== null) node.setDeviceAddresses(step.deviceAddresses);
          for (const event of eventsOf(scenario, step, order)) {
            node.deliver(event);
            if (batch === "an event") node.compile();
          }
          node.compile();
          expect(unitLines(node.units.values()), step.name).toEqual(step.expect);
          expect(node.problemLines(), step.name).toEqual(step.problems);
          const { upserted, removed } = node.compileAll();
          expect([...upserted, ...removed], `${step.name}: compiled again`).toEqual([]);
        }
      });
    }
  }
});

test("scenario files are found, and nearly all of them have a twin in IPv6", () => {
  const twins = scenarios.filter(({ isTwin }) => isTwin);
  expect(scenarios.length - twins.length).toBeGreaterThan(70);
  expect(twins.length).toBeGreaterThan(55);
  for (const { name, steps } of twins) expect(JSON.stringify(steps), name).not.toMatch(/\d+\.\d+\.\d+\.\d+/);
});

test.each([
  ["step: []", /unknown step/],
  ["steps: [{ expects: '' }]", /unknown expects/],
  ["steps: [{ name: x }]", /expects nothing/],
  ["steps: [{ expect: '', delete: [Pod default/x] }]", /cannot delete/],
  ["options: { allowed: [] }\nsteps: []", /unknown allowed/],
  ["steps: [{ expect: '', apply: [{ kind: Pod, metadata: { name: x } }] }]", /cannot apply/],
  ["steps: [{ expect: 10.0.0.0/9 }]", /no IPv6 twin/],
])("a scenario %j is a mistake", (text, message) => {
  expect(() => parseScenario("file", text)).toThrow(message);
});
