// SPDX-License-Identifier: Apache-2.0
// NodePorts in use: reserved against ephemeral use, guarded against bind(), and reported where a process holds one.

import type { Logger } from "pino";
import type { FrontendRole, UnitDelta } from "../../compile/unit.ts";
import { PROTOCOL_NAME, type Protocol } from "../../model/types.ts";
import { listeners } from "../../node/listeners.ts";
import type { ReservedPorts } from "../../node/reserved-ports.ts";

interface NodePort {
  readonly protocol: Protocol;
  readonly port: number;
}

const nameOf = ({ protocol, port }: NodePort): string => `${PROTOCOL_NAME[protocol]} ${port}`;

export interface NodePortOptions {
  readonly log: Logger;
  readonly reserved: ReservedPorts;
  /** False: the sysctl is left alone. */
  readonly reserve: boolean;
  readonly bindGuard: boolean;
}

export class NodePorts {
  readonly #options: NodePortOptions;
  readonly #byUnit = new Map<string, readonly NodePort[]>();
  /** How many units want a port, by nameOf(): two families share one. */
  readonly #wanted = new Map<string, { readonly port: number; units: number }>();
  #givesBack = false;
  /** Some port has lost its last unit since the last look. */
  #dropped = false;
  #warned = false;

  constructor(options: NodePortOptions) {
    this.#options = options;
  }

  /** For the programmer: may bind() to this frontend's port be refused? */
  readonly bindGuard = (role: FrontendRole, port: number): boolean => {
    if (!this.#options.bindGuard || role === "clusterIP") return false;
    return role === "nodePort" ? this.#options.reserved.isSafe(port) : true;
  };

  /** Before a delta is programmed: what it brings is reserved first, as the guard depends on that. */
  add({ upserted }: UnitDelta): void {
    const fresh = new Set<string>();
    for (const { key, protocol, frontends } of upserted) {
      if (!this.#byUnit.has(key) && !frontends.some(({ role }) => role === "nodePort")) continue;
      const ports = frontends.filter(({ role }) => role === "nodePort").map(({ port }) => ({ protocol, port }));
      for (const name of this.#replace(key, ports)) fresh.add(name);
    }
    if (fresh.size === 0) return;
    this.#reserve([...this.#options.reserved.ours, ...this.#ports()]);
    this.#reportHeld(fresh);
  }

  /** After it is programmed: what nobody wants any more is given back. */
  drop({ removed }: UnitDelta): void {
    for (const key of removed) this.#replace(key, []);
    if (!this.#givesBack || !this.#dropped) return;
    this.#dropped = false;
    this.#reserve(this.#ports());
  }

  /** From now on an earlier agent's ports that no Service wants are not kept. */
  giveBack(): void {
    this.#givesBack = true;
    this.#reserve(this.#ports());
  }

  /** NodePorts that a process of this network namespace holds: "TCP 30080". */
  held(): string[] {
    if (this.#wanted.size === 0) return [];
    return listeners()
      .map(nameOf)
      .filter((name) => this.#wanted.has(name));
  }

  get reservedCount(): number {
    return this.#options.reserved.ours.length;
  }

  /** Gives the names of ports that no unit wanted before. */
  #replace(key: string, ports: readonly NodePort[]): string[] {
    const before = this.#byUnit.get(key) ?? [];
    if (ports.length > 0) this.#byUnit.set(key, ports);
    else this.#byUnit.delete(key);
    const fresh: string[] = [];
    for (const port of ports) {
      const name = nameOf(port);
      const wanted = this.#wanted.get(name);
      if (wanted !== undefined) wanted.units++;
      else this.#wanted.set(name, { port: port.port, units: 1 });
      if (wanted === undefined) fresh.push(name);
    }
    for (const port of before) {
      const wanted = this.#wanted.get(nameOf(port));
      if (wanted === undefined || --wanted.units > 0) continue;
      this.#wanted.delete(nameOf(port));
      this.#dropped = true;
    }
    return fresh;
  }

  #ports(): number[] {
    return [...this.#wanted.values()].map(({ port }) => port);
  }

  #reserve(ports: readonly number[]): void {
    try {
      this.#options.reserved.update(this.#options.reserve ? ports : []);
    } catch (error) {
      if (this.#warned) return;
      this.#warned = true;
      const text = "NodePorts cannot be reserved: an outgoing connection may take one as its source port";
      this.#options.log.warn({ reason: (error as Error).message }, text);
    }
  }

  #reportHeld(fresh: ReadonlySet<string>): void {
    for (const port of this.held().filter((name) => fresh.has(name))) {
      const text = "a process of this host holds a NodePort: calls to it from this node go to the Service";
      this.#options.log.warn({ port }, text);
    }
  }
}
