// SPDX-License-Identifier: Apache-2.0
// NodePorts over the life of units: reserved while some unit has them, an earlier agent's kept until all is known.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NodePorts } from "../../../../src/agent/own-node/node-ports.ts";
import type { Unit, UnitDelta } from "../../../../src/compile/unit.ts";
import { PROTOCOL, PROTOCOL_NAME, type Protocol } from "../../../../src/model/types.ts";
import { ReservedPorts } from "../../../../src/node/reserved-ports.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "portolan-nodeports-"));
  writeFileSync(join(dir, "ip_local_reserved_ports"), "9000\n");
  writeFileSync(join(dir, "ip_local_port_range"), "32768\t60999\n");
});
afterEach(() => rmSync(dir, { recursive: true }));

const reserved = (): string => readFileSync(join(dir, "ip_local_reserved_ports"), "utf8").trim();

function open(options: { reserve?: boolean; bindGuard?: boolean } = {}): NodePorts {
  const ports = new ReservedPorts(join(dir, "state.json"), dir);
  return new NodePorts({ log: pino({ level: "silent" }), reserved: ports, reserve: true, bindGuard: true, ...options });
}

function unit(name: string, family: 4 | 6, nodePort: number, protocol: Protocol = PROTOCOL.TCP): Unit {
  return {
    key: `ns/${name}/${PROTOCOL_NAME[protocol]}/${family}`,
    service: `ns/${name}`,
    name: `ns/${name}`,
    family,
    protocol,
    frontends:
      nodePort === 0
        ? []
        : [{ role: "nodePort", address: "", port: nodePort, internalLocal: false, externalLocal: false }],
    endpoints: new Uint8Array(0),
    emptyLocal: "reject",
    affinitySec: 0,
    sourceRanges: null,
  };
}

const delta = (upserted: Unit[], removed: string[] = []): UnitDelta => ({ upserted, removed, problems: new Map() });

function apply(ports: NodePorts, change: UnitDelta): void {
  ports.add(change);
  ports.drop(change);
}

test("one port of two families goes when the last of them goes", () => {
  const ports = open();
  ports.giveBack();
  apply(ports, delta([unit("a", 4, 40_000), unit("a", 6, 40_000)]));
  expect(reserved()).toBe("9000,40000");
  apply(ports, delta([], ["ns/a/TCP/4"]));
  expect(reserved()).toBe("9000,40000");
  apply(ports, delta([], ["ns/a/TCP/6"]));
  expect(reserved()).toBe("9000");
});

test("a changed port", () => {
  const ports = open();
  ports.giveBack();
  apply(ports, delta([unit("a", 4, 40_000)]));
  apply(ports, delta([unit("a", 4, 40_001)]));
  expect(reserved()).toBe("9000,40001");
  apply(ports, delta([unit("a", 4, 0)]));
  expect(reserved()).toBe("9000");
});

test("what an earlier agent reserved stays until all is known", () => {
  apply(open(), delta([unit("a", 4, 40_000), unit("b", 4, 40_001)]));
  const next = open();
  apply(next, delta([unit("a", 4, 40_000)]));
  expect(reserved()).toBe("9000,40000-40001");
  next.giveBack();
  expect(reserved()).toBe("9000,40000");
});

test("the guard: reserved or harmless NodePorts, external frontends always, ClusterIPs never", () => {
  const ports = open();
  expect(ports.bindGuard("nodePort", 30_080)).toBe(true);
  expect(ports.bindGuard("nodePort", 40_000)).toBe(false);
  apply(ports, delta([unit("a", 4, 40_000)]));
  expect(ports.bindGuard("nodePort", 40_000)).toBe(true);
  expect(ports.bindGuard("loadBalancer", 443)).toBe(true);
  expect(ports.bindGuard("clusterIP", 443)).toBe(false);
  expect(open({ bindGuard: false }).bindGuard("loadBalancer", 443)).toBe(false);
});

test("switched off, it gives back what an earlier configuration reserved", () => {
  apply(open(), delta([unit("a", 4, 40_000)]));
  const off = open({ reserve: false });
  apply(off, delta([unit("a", 4, 40_000)]));
  expect(reserved()).toBe("9000");
});

test("a port goes also beside one of two protocols, and beside one that others reserved", () => {
  const ports = open();
  ports.giveBack();
  apply(
    ports,
    delta([unit("dns", 4, 40_053), unit("dns", 4, 40_053, PROTOCOL.UDP), unit("b", 4, 9000), unit("c", 4, 40_001)]),
  );
  expect(reserved()).toBe("9000,40001,40053");
  apply(ports, delta([], ["ns/c/TCP/4"]));
  expect(reserved()).toBe("9000,40053");
  apply(ports, delta([], ["ns/dns/TCP/4", "ns/b/TCP/4"]));
  expect(reserved()).toBe("9000,40053");
  apply(ports, delta([], ["ns/dns/UDP/4"]));
  expect(reserved()).toBe("9000");
});
