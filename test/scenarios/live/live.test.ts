// SPDX-License-Identifier: Apache-2.0
// Every scenario against live sockets: the real agent follows an API server, a process of the node and a pod call every
// frontend of every step, and what answers is what the lines say.

import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Check, planChecks } from "../../support/checks.ts";
import { markerArrived, markerObjects } from "../../support/marker.ts";
import { expectedOutcome } from "../../support/outcome.ts";
import { Portolan } from "../../support/portolan.ts";
import {
  loadScenarios,
  type Manifest,
  parseScenario,
  type Scenario,
  type ScenarioStep,
} from "../../support/scenario.ts";
import { endpointListeners } from "../../support/scenario-endpoints.ts";
import { runStep, Trial } from "../../support/trial.ts";
import { World } from "../../support/world.ts";
import { NODE_ADDRESSES, removeAbandoned } from "../../support/world-network.ts";
import { LiveApi } from "./api.ts";

const PREFIX = "pt-live";
const scenarios = loadScenarios(resolve("test/scenarios"));

let world: World;
let api: LiveApi;
let portolan: Portolan;
let kubeconfig = "";
let steps = 0;
let made = 0;
let running = "";

beforeAll(async () => {
  await removeAbandoned(PREFIX);
  world = await World.create({ prefix: PREFIX, name: "node" });
  portolan = await Portolan.create(world);
  api = new LiveApi(world);
  kubeconfig = join(portolan.dir, "kubeconfig");
  await api.writeKubeconfig(kubeconfig);
});

afterAll(() => world?.remove());

function nodeObject(name: string, status: object): Manifest {
  return { apiVersion: "v1", kind: "Node", metadata: { name }, status } as unknown as Manifest;
}

/** Removes what is left of the scenario before. Of a deleted Node the last word would go on counting: it says nothing. */
async function clear({ node }: Scenario): Promise<void> {
  const rest = api.present().filter(({ kind, key }) => kind !== "Node" || key !== node);
  await api.change(rest, [nodeObject(node, {})]);
}

/** The agent with the settings that a scenario asks for; it is started anew where they differ from those before. */
async function configure({ node: hostnameOverride, settings }: Scenario): Promise<void> {
  const kind = { apiVersion: "portolan.io/v1alpha1", kind: "PortolanConfiguration" };
  const configuration = { ...kind, kubeconfig, hostnameOverride, ...settings };
  if (JSON.stringify(configuration) === running) return;
  // An agent waits for its Node's address at the start.
  const addresses = NODE_ADDRESSES.map((address) => ({ type: "InternalIP", address }));
  await api.change([], [nodeObject(hostnameOverride, { addresses })]);
  await portolan.start(configuration);
  running = JSON.stringify(configuration);
}

async function tell(step: ScenarioStep, { settings }: Scenario): Promise<void> {
  const { serviceProxyName: name } = settings;
  const labels = name === null ? {} : { "service.kubernetes.io/service-proxy-name": name };
  await api.change(step.delete, [...step.apply, ...(markerObjects(++steps, labels) as Manifest[])]);
  await markerArrived(world, steps).catch(async (error: unknown) => {
    throw new Error(`${error}\n${await portolan.describe()}`);
  });
}

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async (_, scenario) => {
  await configure(scenario);
  await clear(scenario);
  const listeners = endpointListeners(scenario);
  const trial = new Trial(world);
  const seen = new Set<string>();
  let { deviceAddresses } = scenario;
  for (const step of scenario.steps) {
    deviceAddresses = step.deviceAddresses ?? deviceAddresses;
    await world.setAddresses(deviceAddresses, listeners);
    await tell(step, scenario);
    const answering = [...deviceAddresses, ...listeners.map(({ address }) => address)];
    const checks = planChecks(step.expect, { answering, seen });
    const outcomes = await runStep([trial], checks, (check, [outcome]) => outcome === expectedOutcome(check));
    const wanted = checks.map((check) => `${check.text}: ${expectedOutcome(check)}`);
    const found = [...outcomes].map(([check, [outcome]]) => `${check.text}: ${outcome}`);
    expect(found, step.name).toEqual(wanted);
    made += checks.length;
  }
});

/** A Service with two endpoints, without affinity, and one without any. */
const told = parseScenario(
  "told",
  `
steps:
  - name: two Services
    apply:
      - { kind: Service, metadata: { name: web }, spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: 80 }] } }
      - { kind: Service, metadata: { name: none }, spec: { clusterIP: 10.96.0.11, ports: [{ name: http, port: 80 }] } }
      - kind: EndpointSlice
        metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
        addressType: IPv4
        ports: [{ name: http, port: 8080 }]
        endpoints: [{ addresses: [10.244.1.2] }, { addresses: [10.244.2.2] }]
    expect: ""
`,
)[0] as Scenario;

test.each([
  ["one endpoint too few", "default/web:http TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080"],
  [
    "one too many",
    "default/web:http TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080,10.244.2.2:8080,10.244.2.3:8080",
  ],
  ["a refusal that is none", "default/web:http TCP 10.96.0.10:80 ClusterIP cluster=reject"],
  ["silence that is none", "default/web:http TCP 10.96.0.10:80 ClusterIP cluster=drop"],
  [
    "affinity that is none",
    "default/web:http TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080,10.244.2.2:8080 affinity=60",
  ],
  ["an answer that is none", "default/none:http TCP 10.96.0.11:80 ClusterIP cluster=10.244.1.2:8080"],
])("a line with %s is noticed", async (_, line) => {
  await configure(told);
  await clear(told);
  await world.setAddresses([], endpointListeners(told));
  for (const step of told.steps) await tell(step, told);
  const checks = planChecks([line], { answering: [], seen: new Set() }).filter(({ kind }) => kind === "ClusterIP");
  const isNoticed = (check: Check, [outcome]: readonly string[]): boolean => outcome !== expectedOutcome(check);
  const outcomes = await runStep([new Trial(world)], checks, isNoticed);
  expect([...outcomes].filter(([check, tried]) => isNoticed(check, tried))).not.toEqual([]);
});

test("the scenarios made many checks", () => {
  console.log(`${made} checks in ${scenarios.length} scenarios`);
  expect(made).toBeGreaterThan(1_000);
});
