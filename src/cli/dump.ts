// SPDX-License-Identifier: Apache-2.0
// portolan dump MAP: one pinned map, decoded, without the empty elements of arrays.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { BpfError, BpfMap, BpfObject, Btf } from "libbpf-ts";
import { type DumpRow, type DumpValue, dumpMap } from "../datapath/dump.ts";
import { MAP_NAMES } from "../datapath/maps.ts";
import { socketObject } from "../datapath/object-file.ts";
import { IncompletePins, openView, requirePins, sayWhose, type View } from "./pinned.ts";
import { type Column, formatDocument, formatTable, parseFormat } from "./table.ts";
import {
  BPFFS,
  type CommandSpec,
  EXIT,
  type Flags,
  NO_HEADERS,
  OUTPUT,
  RUN_DIR,
  textFlag,
  UsageError,
} from "./usage.ts";

/** The kernel cannot list what lies in the sockets themselves. */
const LISTED = MAP_NAMES.filter((name) => name !== "pt_sockets_ovf");

/** Longer lists are cut short in a table, unless it is wide. */
const SHOWN_ITEMS = 12;

export const dumpCommand: CommandSpec = {
  usage: "dump <map>",
  summary: "print a BPF map, decoded",
  details: `
The maps, by name with or without "pt_": frontends, services, slots, backends, active, sockets, udp_peers, affinity,
node_addrs, src_ranges, names, stats, address_bits. Always read from the kernel, with the agent alive or dead. bpftool
shows the same bytes: bpftool map dump pinned /sys/fs/bpf/portolan/v1/maps/pt_frontends

Examples:
  portolan dump frontends
  portolan dump stats
  portolan dump sockets -o json
`,
  flags: [OUTPUT, NO_HEADERS, RUN_DIR, BPFFS],
  run,
};

async function run(flags: Flags, [given = ""]: readonly string[]): Promise<number> {
  const format = parseFormat(textFlag(flags, "output", "table"));
  const name = LISTED.find((known) => known === given || known === `pt_${given}`);
  if (name === undefined) throw new UsageError([`dump: no map "${given}"; there are ${LISTED.join(", ")}`]);
  const view = await openView(flags);
  requirePins(view);
  const path = join(view.pins.maps, name);
  if (!existsSync(path)) throw new IncompletePins(view.pins.maps, [name]);
  using map = BpfMap.open(path);
  using btf = typesOf(map);
  const rows = [...dumpMap(map, name, btf)].filter(({ value }) => name !== "pt_sockets" || !isFree(value));
  if (format === "json" || format === "yaml") {
    process.stdout.write(await formatDocument({ readFrom: view.readFrom, map: name, items: rows }, format));
  } else {
    print(view, rows, { wide: format === "wide", headers: flags["headers"] !== false });
  }
  return EXIT.OK;
}

/** A socket record keeps its old contents when it is given up; only its cookie is cleared. */
const isFree = (record: DumpValue): boolean => isRecord(record) && record["cookie"] === 0;

/** The map's own types; without the capability to read them, those of the object this release ships. */
function typesOf(map: BpfMap): Btf {
  try {
    const btf = Btf.ofMap(map);
    if (btf !== null) return btf;
  } catch (error) {
    if (!(error instanceof BpfError) || error.code !== "EPERM") throw error;
  }
  using object = BpfObject.open(socketObject());
  return object.btf();
}

function print(view: View, rows: readonly DumpRow[], options: { wide: boolean; headers: boolean }): void {
  sayWhose(view);
  const first = rows[0];
  if (first === undefined) return;
  const columns = [...columnsOf("key", first, options.wide), ...columnsOf("value", first, options.wide)];
  process.stdout.write(formatTable(rows, columns, options));
}

/** A column for each member of a struct, one for anything else. */
function columnsOf(side: "key" | "value", sample: DumpRow, wide: boolean): Column<DumpRow>[] {
  const value = sample[side];
  if (!isRecord(value)) return [{ title: side.toUpperCase(), cell: (row) => cellOf(row[side], wide) }];
  return Object.keys(value).map((member) => ({
    title: member.toUpperCase(),
    cell: (row) => {
      const struct = row[side];
      return isRecord(struct) ? cellOf(struct[member] ?? "", wide) : "";
    },
  }));
}

const isRecord = (value: DumpValue): value is { readonly [member: string]: DumpValue } =>
  typeof value === "object" && !Array.isArray(value);

function cellOf(value: DumpValue, wide: boolean): string {
  if (Array.isArray(value)) {
    const items = wide ? value : value.slice(0, SHOWN_ITEMS);
    const rest = value.length - items.length;
    return items.map(String).join(",") + (rest > 0 ? `,… ${rest} more` : "");
  }
  if (isRecord(value)) {
    return Object.entries(value)
      .map(([name, item]) => `${name} ${String(item)}`)
      .join(" ");
  }
  return String(value);
}
