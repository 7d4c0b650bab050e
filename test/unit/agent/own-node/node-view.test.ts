// SPDX-License-Identifier: Apache-2.0
// The Node object over time: what it changes, what is waited for at the start, and what ends the agent.

import type { Logger } from "pino";
import { describe, expect, test } from "vitest";
import { NodeView, type NodeViewOptions } from "../../../../src/agent/own-node/node-view.ts";
import type { Node, NodeFacts } from "../../../../src/model/types.ts";
import { NodeError } from "../../../../src/node/node-error.ts";

function node(change: Partial<Node> = {}): Node {
  return {
    name: "node-a",
    uid: "",
    zone: "east",
    internalIps: ["192.0.2.1"],
    externalIps: [],
    podCidrs: ["10.244.1.0/24"],
    deleting: false,
    excluded: false,
    ...change,
  };
}

interface World {
  readonly view: NodeView;
  readonly facts: NodeFacts[];
  readonly lines: string[];
  readonly errors: NodeError[];
}

function world(config: Partial<NodeViewOptions["config"]> = {}, hasHeard = () => true): World {
  const facts: NodeFacts[] = [];
  const lines: string[] = [];
  const errors: NodeError[] = [];
  const line = (_: object, text: string) => lines.push(text);
  const view = new NodeView({
    nodeName: "node-a",
    config: { bindAddress: "0.0.0.0", detectLocalMode: "ClusterCIDR", ...config },
    log: { info: line, warn: line } as unknown as Logger,
    hasHeard,
    onFacts: (now) => facts.push(now),
    onFatal: (error) => errors.push(error),
    waitMs: { address: 30, podCidrs: 30 },
  });
  return { view, facts, lines, errors };
}

const never = new AbortController().signal;
const nodeCidr = { detectLocalMode: "NodeCIDR" } as const;

test("before the Node is known there is its name alone; then every change is told once", () => {
  const { view, facts, lines } = world();
  expect(view.facts).toEqual({ nodeName: "node-a", zone: "", primaryAddresses: [], podCidrs: [] });
  view.set(node());
  view.set(node({ uid: "" }));
  view.set(node({ zone: "west" }));
  view.set(node({ zone: "west", internalIps: ["192.0.2.2"] }));
  expect(facts.map(({ zone, primaryAddresses }) => `${zone} ${primaryAddresses}`)).toEqual([
    "east 192.0.2.1",
    "west 192.0.2.1",
    "west 192.0.2.2",
  ]);
  expect(view.facts).toBe(facts.at(-1));
  expect(lines).toEqual(["Node", "the Node has changed", "the Node has changed"]);
});

test("a Node that is deleted counts as it was, and one made again as it is then", () => {
  const { view, facts, lines } = world();
  view.set(node());
  view.set(null);
  expect(view.facts).toMatchObject({ zone: "east", primaryAddresses: ["192.0.2.1"] });
  view.set(node({ zone: "" }));
  expect(facts.map(({ zone }) => zone)).toEqual(["east", ""]);
  expect(lines[1]).toMatch(/deleted/);
});

test("bindAddress takes the place of the Node's address of its family", () => {
  const { view } = world({ bindAddress: "192.0.2.7" });
  expect(view.facts.primaryAddresses).toEqual(["192.0.2.7"]);
  view.set(node({ internalIps: ["192.0.2.1", "fd00::1"] }));
  expect(view.facts.primaryAddresses).toEqual(["192.0.2.7", "fd00::1"]);
});

describe("the start waits", () => {
  test("until the Node has an address", async () => {
    const { view, lines } = world();
    const waiting = view.wait(never);
    view.set(node({ internalIps: [] }));
    view.set(node({ internalIps: [], externalIps: ["203.0.113.1"] }));
    await waiting;
    expect(lines).toEqual(["Node", "the Node has changed"]);
  });

  test("not for ever", async () => {
    const { view, lines } = world();
    await view.wait(never);
    expect(lines).toEqual([
      "waiting for the Node object of this name, and its address",
      "no Node object with an address: going on without",
    ]);
  });

  test("in NodeCIDR mode for podCIDRs, and fails without", async () => {
    const { view } = world(nodeCidr);
    view.set(node({ podCidrs: [] }));
    await expect(view.wait(never)).rejects.toThrow(NodeError);
    const late = world(nodeCidr);
    late.view.set(node({ podCidrs: [] }));
    const waiting = late.view.wait(never);
    late.view.set(node());
    await waiting;
    expect(late.errors).toEqual([]);
  });

  test("in NodeCIDR mode as long as nothing at all is heard", async () => {
    let heard = false;
    const { view } = world(nodeCidr, () => heard);
    const waiting = view.wait(never);
    expect(await Promise.race([waiting.then(() => "over"), pause(150)])).toBe("waits");
    heard = true;
    await expect(waiting).rejects.toThrow("node-a has no podCIDRs");
  });

  test("and ends with the agent", async () => {
    const stop = new AbortController();
    const waiting = world().view.wait(stop.signal);
    stop.abort();
    await expect(waiting).rejects.toThrow(/abort/);
  });
});

test("other podCIDRs end the agent in NodeCIDR mode and no other", () => {
  const other = node({ podCidrs: ["10.244.2.0/24"] });
  const { view, facts, errors } = world(nodeCidr);
  view.set(node({ podCidrs: [] }));
  view.set(node());
  expect(errors).toEqual([]);
  view.set(other);
  expect(errors.map(({ message }) => message)).toEqual([
    "the Node's podCIDRs changed from 10.244.1.0/24 to 10.244.2.0/24",
  ]);
  expect(facts).toHaveLength(2);
  const elsewhere = world();
  elsewhere.view.set(node());
  elsewhere.view.set(other);
  expect([elsewhere.errors, elsewhere.view.facts.podCidrs]).toEqual([[], ["10.244.2.0/24"]]);
});

function pause(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve("waits"), ms));
}
