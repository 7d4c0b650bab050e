// SPDX-License-Identifier: Apache-2.0
// The Events that are portolan's own: which troubles have one, on which object, and what it says.

import { expect, test } from "vitest";
import { capacityEvent, massDeletionEvent, problemEvent } from "../../../../src/agent/notices/warnings.ts";
import type { Problem } from "../../../../src/model/types.ts";

const conflict: Problem = {
  kind: "Service",
  key: "ns/younger",
  field: "spec.externalIPs[0]",
  reason: "192.0.2.7:80/TCP belongs to ns/older",
  event: "FrontendConflict",
};

test("a problem with a name of its own is told on its Service or slice; others are not told", () => {
  expect(problemEvent("n1", conflict)).toEqual({
    regarding: { kind: "Service", namespace: "ns", name: "younger" },
    type: "Warning",
    reason: "FrontendConflict",
    action: "CompileService",
    note: "node n1 does not serve spec.externalIPs[0]: 192.0.2.7:80/TCP belongs to ns/older",
  });
  const { event: _, ...nameless } = conflict;
  expect(problemEvent("n1", nameless)).toBe(null);
  expect(problemEvent("n1", { ...conflict, kind: "EndpointSlice" })?.regarding.kind).toBe("EndpointSlice");
  expect(problemEvent("n1", { ...conflict, kind: "File", key: "/etc/manifests/a.yaml" })).toBe(null);
});

test("no room: on the Service of the unit, whatever its port is called", () => {
  const unit = { action: "program", reason: "pt_services is full", capacity: true, sinceMs: 0 } as const;
  for (const name of ["ns/web", "ns/web:http"]) {
    expect(capacityEvent("n1", { ...unit, name, key: `${name}/TCP/4` })).toEqual({
      regarding: { kind: "Service", namespace: "ns", name: "web" },
      type: "Warning",
      reason: "NoCapacity",
      action: "ProgramService",
      note: `node n1 has no room for ${name}/TCP/4: pt_services is full`,
    });
  }
});

test("a list that lacks most of what was known: on the Node", () => {
  expect(massDeletionEvent("n1", { resource: "/api/v1/services", missing: 30, of: 40 })).toEqual({
    regarding: { kind: "Node", namespace: "", name: "n1" },
    type: "Warning",
    reason: "MassDeletionHeld",
    action: "ListObjects",
    note: "30 of 40 objects are missing in a list of /api/v1/services: they stay until a second read says so",
  });
});
