// SPDX-License-Identifier: Apache-2.0
// Events when something is wrong: a list that lacks most of what was known is told on the Node, and an API server that
// takes no Events, or never answers, hinders nothing.

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { FaultApiServer, SeenChange } from "../support/api-server.ts";
import { eventually } from "../support/daemon.ts";
import { crowd, FaultBed } from "./bed.ts";

let faults: FaultBed;
let server: FaultApiServer;

beforeEach(async () => {
  faults = await FaultBed.create();
  server = await faults.serve();
});
afterEach(() => faults?.remove());

const isCrowd = ({ metadata }: { metadata: { name: string } }): boolean => metadata.name.startsWith("crowd-");

const told = (reason: string): Promise<SeenChange> =>
  eventually(reason, () => server.changes.find(({ object }) => object["reason"] === reason));

test("a list that lacks most of what was known: a Warning on the Node, and traffic goes on", async () => {
  crowd(server, 40);
  await faults.sync(server);
  await told("Starting");
  server.hides = isCrowd;
  server.compact(() => undefined);
  server.endWatches("services");
  const { method, path, object } = await told("MassDeletionHeld");
  expect([method, path]).toEqual(["POST", "/apis/events.k8s.io/v1/namespaces/default/events"]);
  expect(object).toMatchObject({
    type: "Warning",
    regarding: { apiVersion: "v1", kind: "Node", name: "node1" },
    note: "40 of 41 objects are missing in a list of /api/v1/services: they stay until a second read says so",
  });
  expect(await faults.hello()).toBe("hello");
});

test.for([403, null] as const)("Events are answered with %s: nothing else is held up", async (status) => {
  server.changeStatus = status;
  await faults.sync(server);
  expect((await told("Starting")).method).toBe("POST");
  await faults.live(server);
  // Where nothing is answered the first is still waited for: what has just arrived did not wait for it.
  expect(server.changes.length).toBe(1);
  await sleep(2_000);
  // Forbidden is for good.
  if (status !== null) expect(server.changes.length).toBe(1);
  expect((await faults.state()).problems).toEqual([]);
  expect(await faults.hello()).toBe("hello");
});
