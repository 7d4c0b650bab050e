// SPDX-License-Identifier: Apache-2.0
// Keeps NodePorts out of the ephemeral range: merges them into net.ipv4.ip_local_reserved_ports, the one sysctl portolan
// writes unasked, and remembers which of them are ours, so that only those are taken out again.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const SYSCTLS = "/proc/sys/net/ipv4";

/** Where our share is remembered. */
export const reservedPortsFile = (runDir: string): string => join(runDir, "reserved-ports.json");

/** "80,8000-8002" → the ports. Throws on anything that is no such list. */
export function parsePorts(list: string): Set<number> {
  const ports = new Set<number>();
  for (const part of list.trim().split(",").filter(Boolean)) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!match || last > 65_535 || first > last) throw new Error(`"${part}" is no port or range`);
    for (let port = first; port <= last; port++) ports.add(port);
  }
  return ports;
}

/** The shortest list of ports and ranges, ascending: what the kernel prints. */
export function formatPorts(ports: Iterable<number>): string {
  const ranges: [number, number][] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && port <= last[1] + 1) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

const sameSet = (a: ReadonlySet<number>, b: ReadonlySet<number>): boolean =>
  a.size === b.size && [...a].every((port) => b.has(port));

export class ReservedPorts {
  readonly #stateFile: string;
  readonly #sysctls: string;
  /** Those that nobody but us has reserved. */
  #ours: Set<number>;
  #reserved: Set<number>;
  #ephemeral: readonly [first: number, last: number];

  /** `stateFile` remembers our ports across restarts; `sysctls` is the directory of the two net.ipv4 files. */
  constructor(stateFile: string, sysctls: string = SYSCTLS) {
    this.#stateFile = stateFile;
    this.#sysctls = sysctls;
    this.#ours = this.#readState();
    this.#reserved = this.#read();
    this.#ephemeral = this.#readRange();
  }

  /** No ephemeral port lands on it: to guard it against bind() cannot refuse a bind(0). */
  isSafe(port: number): boolean {
    return port < this.#ephemeral[0] || port > this.#ephemeral[1] || this.#reserved.has(port);
  }

  /** Our share of the list. */
  get ours(): readonly number[] {
    return [...this.#ours].sort((a, b) => a - b);
  }

  /** Makes `ports` our share. What others reserved stays. Throws where the sysctl is read-only (EROFS, EACCES). */
  update(ports: Iterable<number>): void {
    const present = this.#read();
    const others = new Set([...present].filter((port) => !this.#ours.has(port)));
    const ours = new Set([...ports].filter((port) => !others.has(port)));
    this.#ephemeral = this.#readRange();
    const wanted = new Set([...others, ...ours]);
    if (!sameSet(wanted, present)) {
      // First what may be ours, then the sysctl: whoever dies in between leaves nothing that nobody takes out.
      this.#writeState([...this.#ours, ...ours]);
      writeFileSync(`${this.#sysctls}/ip_local_reserved_ports`, `${formatPorts(wanted)}\n`);
      this.#reserved = wanted;
    } else {
      this.#reserved = present;
    }
    if (!sameSet(ours, this.#ours)) this.#writeState(ours);
    this.#ours = ours;
  }

  /** Takes out our share and forgets it. */
  release(): void {
    this.update([]);
    rmSync(this.#stateFile, { force: true });
  }

  #read(): Set<number> {
    return parsePorts(readFileSync(`${this.#sysctls}/ip_local_reserved_ports`, "utf8"));
  }

  #readRange(): readonly [number, number] {
    const [first = 0, last = 0] = readFileSync(`${this.#sysctls}/ip_local_port_range`, "utf8").trim().split(/\s+/);
    return [Number(first), Number(last)];
  }

  /** Without a file that can be read nothing is known to be ours: what is reserved then stays so, which harms nobody. */
  #readState(): Set<number> {
    try {
      const { ports } = JSON.parse(readFileSync(this.#stateFile, "utf8")) as { ports: string };
      return parsePorts(ports);
    } catch {
      return new Set();
    }
  }

  #writeState(ports: Iterable<number>): void {
    const temporary = `${this.#stateFile}.new`;
    mkdirSync(dirname(this.#stateFile), { recursive: true, mode: 0o750 });
    writeFileSync(temporary, `${JSON.stringify({ ports: formatPorts(ports) })}\n`, { mode: 0o600 });
    renameSync(temporary, this.#stateFile);
  }
}
