// SPDX-License-Identifier: Apache-2.0
// Where each member of the map's keys and values lies, looked up in the object's BTF, and the constants of bpf/types.h.
// A kernel map whose layout is not the one this program was written for is refused here, before anything is read from it.

import type { Btf, BtfStruct } from "libbpf-ts";

/** enum frontend_flags. */
export const FRONTEND = {
  CLUSTER_IP: 1,
  NODE_PORT: 2,
  EXTERNAL_IP: 4,
  LOAD_BALANCER: 8,
  ANY_PORT: 16,
  INTERNAL_LOCAL: 32,
  EXTERNAL_LOCAL: 64,
  BIND_GUARD: 128,
  SOURCE_RANGES: 256,
  ALLOW_HOST: 512,
  ALLOW_PODS: 1024,
} as const;

/** enum algorithm. */
export const ALGORITHM = { REJECT: 0, DROP: 1, RANDOM: 2, LEAST_CONN: 3, MAGLEV: 4 } as const;

/** enum backend_flags. */
export const BACKEND = { CLUSTER: 1, LOCAL: 2, SERVING: 4 } as const;

/** enum node_addr_flags. */
export const NODE_ADDR = { MINE: 1, NODE_PORT: 2 } as const;

/** enum socket_flags. */
export const SOCKET = { COUNTED: 1, SENDTO: 2, PEERS: 4 } as const;

/** enum affinity_client. */
export const AFFINITY = { NETNS: 0, ADDRESS: 1 } as const;

/** Bits of a source range's key in front of the address: the service id (SRC_RANGE_SERVICE_BITS). */
export const RANGE_SERVICE_BITS = 32;

/** enum stat_reason, in order, without the prefix. Used where the BTF at hand does not carry the enum, or ends earlier. */
export const STAT_REASONS = [
  "CONNECT",
  "CONNECT_REJECT",
  "CONNECT_DROP",
  "SENDMSG",
  "SENDMSG_REJECT",
  "SENDMSG_DROP",
  "RECVMSG",
  "PEERNAME",
  "BIND_REFUSED",
  "AFFINITY_HIT",
  "AFFINITY_NEW",
  "RECORD_OVERFLOW",
  "RECORD_LOST",
  "PICK_RETRY",
  "PICK_FAILED",
  "LOOPBACK_SOURCE",
  "SOURCE_OUTSIDE",
] as const;

const ENUMS: Readonly<Record<string, { readonly prefix: string; readonly values: Readonly<Record<string, number>> }>> =
  {
    frontend_flags: { prefix: "FRONTEND_", values: FRONTEND },
    algorithm: { prefix: "ALGORITHM_", values: ALGORITHM },
    backend_flags: { prefix: "BACKEND_", values: BACKEND },
    node_addr_flags: { prefix: "NODE_ADDR_", values: NODE_ADDR },
    socket_flags: { prefix: "SOCKET_", values: SOCKET },
    affinity_client: { prefix: "AFFINITY_", values: AFFINITY },
  };

/** The members this program reads or writes, with their sizes in bytes; 0: as large as BTF says. */
const STRUCTS = {
  frontend_key: { addr: 16, port: 2, proto: 1 },
  frontend: { service_id: 4, flags: 4 },
  service: { cluster: 8, local: 8, affinity_sec: 4, flags: 4 },
  slot_page: { backend_id: 0 },
  backend: { addr: 16, port: 2, proto: 1, service_id: 4, generation: 4, flags: 4 },
  active: { connections: 8 },
  socket_record: {
    cookie: 8,
    frontend_addr: 16,
    backend_addr: 16,
    frontend_port: 2,
    backend_port: 2,
    backend_id: 4,
    generation: 4,
    service_id: 4,
    proto: 1,
    flags: 1,
  },
  doomed: { addr: 16, port: 2 },
  gone_key: { addr: 16, port: 2, service_id: 4 },
  node_addr_key: { addr: 16 },
  node_addr: { flags: 4 },
  src_range_key: { prefixlen: 4, service_id: 4, addr: 16 },
  src_range: { allowed: 1 },
  service_name: { family: 1, proto: 1, name: 0 },
  stat: { count: 8 },
} as const;

export type StructName = keyof typeof STRUCTS;

/** Size of a struct, byte offset of each member, and the sizes of the members that BTF decides. */
export interface Layout<S extends StructName> {
  readonly size: number;
  readonly at: Readonly<Record<keyof (typeof STRUCTS)[S], number>>;
  readonly bytes: Readonly<Record<keyof (typeof STRUCTS)[S], number>>;
}

/** The maps or the object were built for another layout; `problems` names every member that differs. */
export class LayoutError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the BPF maps have another layout than this program: ${problems.join("; ")}`);
    this.name = "LayoutError";
    this.problems = problems;
  }
}

/** Looks a struct up in BTF. Throws LayoutError if it, a member or a size is not as this program needs it. */
export function structLayout<S extends StructName>(btf: Btf, name: S): Layout<S> {
  const found = btf.struct(name);
  if (found === null) throw new LayoutError([`struct ${name} is not in the BTF`]);
  const at: Record<string, number> = {};
  const bytes: Record<string, number> = {};
  const problems: string[] = [];
  for (const [member, size] of Object.entries(STRUCTS[name])) {
    const actual = memberOf(found, member);
    if (actual === null) problems.push(`struct ${name} has no member ${member}`);
    else if (size !== 0 && actual.size !== size) {
      problems.push(`${name}.${member} has ${actual.size} bytes, not ${size}`);
    } else {
      at[member] = actual.offset;
      bytes[member] = actual.size;
    }
  }
  if (problems.length > 0) throw new LayoutError(problems);
  return { size: found.size, at, bytes } as Layout<S>;
}

function memberOf(struct: BtfStruct, name: string): { offset: number; size: number } | null {
  return struct.members.find((member) => member.name === name) ?? null;
}

/** Compares the constants above with every enum the BTF carries; throws LayoutError naming all that differ. */
export function checkEnums(btf: Btf): void {
  const problems: string[] = [];
  for (const [name, { prefix, values }] of Object.entries(ENUMS)) {
    const actual = btf.enum(name);
    if (actual === null) continue;
    for (const [member, value] of Object.entries(values)) {
      const found = actual[prefix + member];
      if (found !== value) problems.push(`${prefix}${member} is ${found ?? "missing"}, not ${value}`);
    }
  }
  if (problems.length > 0) throw new LayoutError(problems);
}

/** Names of the counters in pt_stats by index, from BTF's enum stat_reason where it is there; a former release's is shorter. */
export function statReasons(btf: Btf | null): readonly string[] {
  const found = btf?.enum("stat_reason") ?? null;
  if (found === null) return STAT_REASONS;
  const names: string[] = [...STAT_REASONS];
  for (const [name, index] of Object.entries(found)) {
    if (name !== "STAT_MAX") names[index] = name.replace(/^STAT_/, "");
  }
  return names;
}
