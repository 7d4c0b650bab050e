// SPDX-License-Identifier: Apache-2.0
// Every scenario down to the maps: what a program would read from them is what the scenario expects, in both event
// orders, with one write in ten failing, and with another agent taking over after every step.

import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import type { UnitDelta } from "../../../src/compile/unit.ts";
import { Programmer } from "../../../src/program/programmer.ts";
import { options } from "../../support/fresh-maps.ts";
import { anyPortLines, mapLines, wantedAnyPorts } from "../../support/map-lines.ts";
import { emptyMemory, failing, MemoryMaps } from "../../support/memory-maps.ts";
import { loadScenarios, type Scenario } from "../../support/scenario.ts";
import { EVENT_ORDERS, eventsOf, type ScenarioEvent, ScenarioNode } from "../../support/scenario-node.ts";

const scenarios = loadScenarios(resolve("test/scenarios"));

/** A whole agent but for its source and its kernel. */
class Node {
  readonly #memory = emptyMemory();
  readonly #fails: () => boolean;
  readonly #stages: ScenarioNode;
  #programmer!: Programmer;
  port!: MemoryMaps;

  constructor(scenario: Scenario, fails: () => boolean) {
    this.#stages = new ScenarioNode(scenario);
    this.#fails = fails;
  }

  async start(): Promise<void> {
    this.port = new MemoryMaps(this.#memory, { fails: this.#fails });
    this.#programmer = await Programmer.start(this.port, options);
    this.#programmer.allowDeletes();
  }

  /** Another agent with the same objects, knowing nothing but the maps. */
  async restart(): Promise<void> {
    await this.start();
    await this.#program(this.#stages.compileFromNothing());
  }

  deliver(event: ScenarioEvent): Promise<void> {
    this.#stages.deliver(event);
    return this.#program(this.#stages.compile());
  }

  setDeviceAddresses(addresses: readonly string[]): Promise<void> {
    this.#stages.setDeviceAddresses(addresses);
    return this.#program(this.#stages.compile());
  }

  async #program(delta: UnitDelta): Promise<void> {
    this.#programmer.apply(delta);
    for (let round = 0; round < 100; round++) {
      await this.#programmer.settled();
      const { pending, failure, quarantined } = this.#programmer.status();
      if (pending.length === 0 && failure === null && quarantined === 0) break;
      this.#programmer.retry();
    }
    expect(this.#programmer.status()).toMatchObject({ pending: [], failure: null, quarantined: 0 });
  }
}

async function play(
  scenario: Scenario,
  node: Node,
  how: { order: (typeof EVENT_ORDERS)[number]; restart: boolean },
): Promise<void> {
  await node.start();
  for (const step of scenario.steps) {
    if (step.deviceAddresses !== null) await node.setDeviceAddresses(step.deviceAddresses);
    for (const event of eventsOf(scenario, step, how.order)) await node.deliver(event);
    expect(mapLines(node.port), step.name).toEqual(step.expect);
    expect(anyPortLines(node.port), step.name).toEqual(wantedAnyPorts(node.port));
    if (!how.restart) continue;
    await node.restart();
    expect(mapLines(node.port), `${step.name}: restarted`).toEqual(step.expect);
    expect(node.port.writes, `${step.name}: writes of a restart`).toBe(0);
  }
}

const never = (): boolean => false;

describe.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", (_, scenario) => {
  test.each(EVENT_ORDERS)("%s", async (order) => {
    await play(scenario, new Node(scenario, never), { order, restart: false });
  });

  test("another agent after every step", async () => {
    await play(scenario, new Node(scenario, never), { order: "Services first", restart: true });
  });

  test.each([1, 2, 3])("one write in ten fails, %i", async (seed) => {
    await play(scenario, new Node(scenario, failing(seed)), { order: "EndpointSlices first", restart: false });
  });
});
