// SPDX-License-Identifier: Apache-2.0
// Which problems become Events, and on what.

import { expect, test } from "vitest";
import { problemEvent } from "../../../src/agent/warnings.ts";
import type { Problem } from "../../../src/model/types.ts";

const problem: Problem = {
  kind: "Service",
  key: "shop/web",
  field: "spec.externalIPs[0]",
  reason: "198.51.100.7:80/TCP belongs to shop/old",
  event: "FrontendConflict",
};

test("a lost frontend is told on the Service that lost it", () => {
  expect(problemEvent("node-a", problem)).toEqual({
    regarding: { kind: "Service", namespace: "shop", name: "web" },
    type: "Warning",
    reason: "FrontendConflict",
    action: "CompileService",
    note: "node node-a does not serve spec.externalIPs[0]: 198.51.100.7:80/TCP belongs to shop/old",
  });
});

test("a refused endpoint is told on its slice", () => {
  const { regarding, reason } =
    problemEvent("node-a", { ...problem, kind: "EndpointSlice", event: "EndpointRefused" }) ?? {};
  expect([regarding, reason]).toEqual([{ kind: "EndpointSlice", namespace: "shop", name: "web" }, "EndpointRefused"]);
});

test.each<[string, Problem]>([
  ["files", { ...problem, kind: "File", key: "/a/b" }],
  ["the Node", { ...problem, kind: "Node", key: "node-a" }],
  ["what has no key", { ...problem, key: "" }],
])("of %s there is no Event", (_, other) => {
  expect(problemEvent("node-a", other)).toBeNull();
});
