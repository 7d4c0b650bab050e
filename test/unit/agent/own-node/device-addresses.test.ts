// SPDX-License-Identifier: Apache-2.0
// On which addresses NodePorts answer.

import { describe, expect, test } from "vitest";
import { answersOnLoopback, nodeAddresses, nodePortCidrs } from "../../../../src/agent/own-node/device-addresses.ts";
import type { Config } from "../../../../src/config/schema.ts";
import { NODE_ADDR } from "../../../../src/datapath/layout.ts";
import { addressBytes, formatAddress } from "../../../../src/model/address.ts";

type NodePortConfig = Pick<Config, "nodePortAddresses" | "mode">;
const DEVICES = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "fd00::1", "fd00::2"];
const NODE = ["192.0.2.1", "fd00::1"];

function answering(config: NodePortConfig, primary: readonly string[] = NODE): string[] {
  const addresses = nodeAddresses(
    DEVICES.map((text) => addressBytes(text)),
    nodePortCidrs(config, primary),
  );
  expect(addresses.every(({ flags }) => (flags & NODE_ADDR.MINE) !== 0)).toBe(true);
  return addresses
    .filter(({ flags }) => (flags & NODE_ADDR.NODE_PORT) !== 0)
    .map(({ address }) => formatAddress(address));
}

describe("NodePorts answer", () => {
  test.each<[string, NodePortConfig, readonly string[], readonly string[]]>([
    ["on all addresses if nothing was said", { nodePortAddresses: null, mode: "" }, NODE, DEVICES],
    ["likewise in iptables mode", { nodePortAddresses: null, mode: "iptables" }, NODE, DEVICES],
    ["on the node's own in nftables mode", { nodePortAddresses: null, mode: "nftables" }, NODE, NODE],
    ["an empty list is none", { nodePortAddresses: [], mode: "nftables" }, NODE, NODE],
    ["and wherever that was asked for", { nodePortAddresses: ["primary"], mode: "" }, NODE, NODE],
    [
      "on all of a family that the Node has no address of",
      { nodePortAddresses: ["primary"], mode: "" },
      ["192.0.2.2"],
      ["192.0.2.2", "fd00::1", "fd00::2"],
    ],
    ["on all while the Node is not known", { nodePortAddresses: ["primary"], mode: "" }, [], DEVICES],
    [
      "on those in a prefix, and all of a family without one",
      { nodePortAddresses: ["192.0.2.0/24"], mode: "" },
      NODE,
      ["192.0.2.1", "192.0.2.2", "fd00::1", "fd00::2"],
    ],
    [
      "on those of each family",
      { nodePortAddresses: ["198.51.100.0/24", "fd00::2/128"], mode: "" },
      NODE,
      ["198.51.100.1", "fd00::2"],
    ],
    [
      "on all of a family with /0",
      { nodePortAddresses: ["0.0.0.0/0", "10.0.0.0/8", "fd01::/16"], mode: "" },
      NODE,
      DEVICES.slice(0, 3),
    ],
    ["on none where no prefix holds any", { nodePortAddresses: ["10.0.0.0/8", "fd01::/16"], mode: "" }, NODE, []],
  ])("%s", (_, config, primary, addresses) => {
    expect(answering(config, primary)).toEqual(addresses);
  });
});

test.each<[NodePortConfig, boolean]>([
  [{ nodePortAddresses: null, mode: "" }, true],
  [{ nodePortAddresses: null, mode: "nftables" }, false],
  [{ nodePortAddresses: ["primary"], mode: "" }, false],
  [{ nodePortAddresses: [], mode: "" }, true],
  [{ nodePortAddresses: [], mode: "nftables" }, false],
  [{ nodePortAddresses: ["127.0.0.0/8"], mode: "" }, true],
  [{ nodePortAddresses: ["10.0.0.0/8"], mode: "" }, false],
  [{ nodePortAddresses: ["10.0.0.0/8", "0.0.0.0/0"], mode: "" }, true],
  [{ nodePortAddresses: ["fd00::/8"], mode: "" }, true],
])("with %j they answer on loopback: %s", (config, answers) => {
  expect(answersOnLoopback(config)).toBe(answers);
});
