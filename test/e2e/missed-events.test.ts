// SPDX-License-Identifier: Apache-2.0
// What the watch of a real API server tells, compared again and again with its lists while everything changes: not one
// event is missed, and nothing that merely happens at the same time is taken for one.

import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeEndpointSlice, decodeService } from "../../src/source/decode/decode.ts";
import { KubernetesSource } from "../../src/source/kubernetes.ts";
import { eventually } from "../support/daemon.ts";
import { ControlPlane } from "../support/kube.ts";
import { RecordingSink } from "../unit/source/recording-sink.ts";
import { service, slice } from "./objects.ts";

const CHURN_MS = 45_000;
const NAMES = 40;
const SERVICES = "/api/v1/namespaces/default/services";
const SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

let dir: string;
let plane: ControlPlane;
let source: KubernetesSource;
const sink = new RecordingSink();
const connections = new Agent({ keepAlive: true, maxSockets: 4 });

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "portolan-missed-"));
  plane = await ControlPlane.start({ dir: join(dir, "kube") });
  source = await KubernetesSource.load({
    kubeconfig: plane.agentKubeconfig,
    servers: [],
    stateDir: null,
    compareMs: 3_000,
  });
  source.start(sink);
  await sink.until(() => sink.completed, 90_000);
});

afterAll(async () => {
  await source?.stop();
  connections.destroy();
  await plane?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** The status, and the body of a 2xx. */
function ask(method: string, path: string, body?: object): Promise<{ status: number; body: string }> {
  const { server, ca, token } = plane.admin;
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": type };
  return new Promise((resolve, reject) => {
    const sent = request(server + path, { method, headers, ca, agent: connections }, (response) => {
      let text = "";
      response.on("data", (part) => {
        text += String(part);
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Makes, changes or deletes one object of each kind; what is there already or is not there is no failure. */
async function change(round: number): Promise<void> {
  const name = `s${(round * 7) % NAMES}`;
  const addresses = [`10.1.${round % 250}.1`, `10.1.${round % 250}.2`];
  const plain = service(name, { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] });
  const steps = [
    () => ask("POST", SERVICES, plain),
    () => ask("POST", SLICES, slice(name, name, addresses)),
    () => ask("PATCH", `${SERVICES}/${name}`, { spec: { sessionAffinity: round % 2 === 0 ? "ClientIP" : "None" } }),
    () => ask("PATCH", `${SLICES}/${name}`, { endpoints: [{ addresses: addresses.slice(round % 2) }] }),
    () => ask("DELETE", `${SERVICES}/${name}`),
    () => ask("DELETE", `${SLICES}/${name}`),
  ];
  for (const step of [steps[(round * 5) % 6], steps[(round * 5 + 1) % 6]]) await step?.();
}

test("45 s of churn and more, compared again and again: 0 missed events, and in the end every object as listed", async () => {
  const [endMs, latestMs] = [performance.now() + CHURN_MS, performance.now() + 4 * CHURN_MS];
  const counters = () => source.status().counters;
  // A slow API server gives fewer of either in that time.
  const isEnough = () => (counters()["comparisons"] ?? 0) > 8 && (counters()["events"] ?? 0) > 500;
  let round = 0;
  const worker = async () => {
    while (performance.now() < endMs || (!isEnough() && performance.now() < latestMs)) await change(round++);
  };
  await Promise.all([worker(), worker()]);
  const listed = async (path: string) => (JSON.parse((await ask("GET", path)).body) as { items: object[] }).items;
  const services = (await listed("/api/v1/services")).map((item) => decodeService(item).object);
  const slices = (await listed("/apis/discovery.k8s.io/v1/endpointslices")).map(
    (item) => decodeEndpointSlice(item).object,
  );
  const byName = <T extends { namespace: string; name: string } | null>(objects: readonly T[]) =>
    Object.fromEntries(objects.map((object) => [`${object?.namespace}/${object?.name}`, object]));
  await eventually("all is told", () => {
    expect(Object.fromEntries(sink.services)).toEqual(byName(services));
    expect(Object.fromEntries(sink.slices)).toEqual(byName(slices));
    return true;
  });
  const { comparisons = 0, events = 0, missed_events: missed } = counters();
  console.log(`${round} rounds, ${events} events, ${comparisons} comparisons: ${missed} missed events (bar 0)`);
  expect(missed).toBe(0);
  expect(comparisons).toBeGreaterThan(8);
  expect(events).toBeGreaterThan(500);
  expect(counters()["relists"]).toBe(0);
});
