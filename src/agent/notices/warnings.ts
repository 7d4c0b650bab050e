// SPDX-License-Identifier: Apache-2.0
// Which troubles become Events, and in which words: what whoever owns a Service or a Node can do something about.

import type { Problem } from "../../model/types.ts";
import type { EventText } from "../../observe/events.ts";
import type { PendingUnit } from "../../program/status.ts";

/** Null: it is told by the log and by `status` alone. */
export function problemEvent(node: string, problem: Problem): EventText | null {
  const { kind, key, field, reason, event } = problem;
  const [namespace, name] = key.split("/");
  if ((kind !== "Service" && kind !== "EndpointSlice") || event === undefined) return null;
  if (namespace === undefined || name === undefined) return null;
  const note = `node ${node} does not serve ${field}: ${reason}`;
  return { regarding: { kind, namespace, name }, type: "Warning", reason: event, action: "CompileService", note };
}

/** A Service that finds no room in the maps. */
export function capacityEvent(node: string, unit: PendingUnit): EventText {
  const [namespace = "", name = ""] = (unit.name.split(":", 1)[0] ?? "").split("/");
  const note = `node ${node} has no room for ${unit.key}: ${unit.reason}`;
  const regarding = { kind: "Service", namespace, name } as const;
  return { regarding, type: "Warning", reason: "NoCapacity", action: "ProgramService", note };
}

/** A list that lacks most of what was known. */
export function massDeletionEvent(node: string, lacking: { resource: string; missing: number; of: number }): EventText {
  const { resource, missing, of } = lacking;
  const note = `${missing} of ${of} objects are missing in a list of ${resource}: they stay until a second read says so`;
  const regarding = { kind: "Node", name: node, namespace: "" } as const;
  return { regarding, type: "Warning", reason: "MassDeletionHeld", action: "ListObjects", note };
}
