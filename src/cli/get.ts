// SPDX-License-Identifier: Apache-2.0
// portolan get services|frontends|backends: what the kernel has, put together from the pinned maps.

import { readUnits } from "../program/recover.ts";
import type { UnitState } from "../program/unit-state.ts";
import {
  type BackendRow,
  backendRows,
  type FrontendRow,
  frontendRows,
  type ServiceRow,
  serviceRows,
} from "./kernel-rows.ts";
import { openMaps, openView, requirePins, sayWhose, type View } from "./pinned.ts";
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

export const getCommand: CommandSpec = {
  usage: "get <services|frontends|backends>",
  summary: "list what is programmed: Services, the addresses they are called by, or their endpoints",
  details: `
Works with the agent alive and dead: rows are read from the pinned maps. From a living agent come, besides, units that
are not programmed yet, with their reason.

Examples:
  portolan get services
  portolan get frontends -o wide
  portolan get backends -o json | jq '.items[] | select(.connections > 0)'
`,
  flags: [OUTPUT, NO_HEADERS, RUN_DIR, BPFFS],
  run,
};

const SERVICE_COLUMNS: readonly Column<ServiceRow>[] = [
  { title: "SERVICE", cell: (row) => row.service },
  { title: "PROTOCOL", cell: (row) => row.protocol },
  { title: "FAMILY", cell: (row) => `IPv${row.family}` },
  { title: "FRONTENDS", cell: (row) => row.frontends.join(",") },
  { title: "ENDPOINTS", cell: (row) => row.endpoints },
  { title: "LOCAL", cell: (row) => row.localEndpoints },
  { title: "CONNECTIONS", cell: (row) => row.connections },
  { title: "STATE", cell: (row) => row.state },
  { title: "ID", wide: true, cell: (row) => row.id },
  { title: "ANSWER", wide: true, cell: (row) => row.answer },
  { title: "AFFINITY", wide: true, cell: (row) => (row.affinitySec === 0 ? "" : `${row.affinitySec}s`) },
  { title: "REASON", wide: true, cell: (row) => row.reason },
];

const FRONTEND_COLUMNS: readonly Column<FrontendRow>[] = [
  { title: "ADDRESS", cell: (row) => row.address },
  { title: "PORT", cell: (row) => row.port },
  { title: "PROTOCOL", cell: (row) => row.protocol },
  { title: "ROLE", cell: (row) => row.roles.join(",") },
  { title: "SERVICE", cell: (row) => row.service },
  { title: "POLICY", wide: true, cell: (row) => row.policies.join(",") },
  { title: "GUARDED", wide: true, cell: (row) => (row.bindGuard ? "yes" : "no") },
  { title: "ID", wide: true, cell: (row) => row.id },
];

const BACKEND_COLUMNS: readonly Column<BackendRow>[] = [
  { title: "ADDRESS", cell: (row) => row.address },
  { title: "PORT", cell: (row) => row.port },
  { title: "PROTOCOL", cell: (row) => row.protocol },
  { title: "SERVICE", cell: (row) => row.service },
  { title: "SETS", cell: (row) => row.sets.join(",") },
  { title: "SERVING", cell: (row) => (row.serving ? "yes" : "no") },
  { title: "CONNECTIONS", cell: (row) => row.connections },
  { title: "ID", wide: true, cell: (row) => row.id },
  { title: "GENERATION", wide: true, cell: (row) => row.generation },
];

async function run(flags: Flags, [what = ""]: readonly string[]): Promise<number> {
  const format = parseFormat(textFlag(flags, "output", "table"));
  if (what !== "services" && what !== "frontends" && what !== "backends") {
    throw new UsageError([`get: must be services, frontends or backends, is "${what}"`]);
  }
  const view = await openView(flags);
  requirePins(view);
  using maps = openMaps(view.pins);
  const units = [...readUnits(maps).units.values()];
  const print = printer(view, format, flags["headers"] !== false);
  if (what === "services") await print(serviceRows(maps, units, view.agent?.programmer.pending ?? []), SERVICE_COLUMNS);
  else if (what === "frontends") await print(frontendRows(sorted(units)), FRONTEND_COLUMNS);
  else await print(backendRows(maps, sorted(units)), BACKEND_COLUMNS);
  return EXIT.OK;
}

const sorted = (units: readonly UnitState[]): UnitState[] => units.toSorted((a, b) => (a.key < b.key ? -1 : 1));

function printer(view: View, format: ReturnType<typeof parseFormat>, headers: boolean) {
  return async <Row>(items: readonly Row[], columns: readonly Column<Row>[]): Promise<void> => {
    if (format === "json" || format === "yaml") {
      process.stdout.write(await formatDocument({ readFrom: view.readFrom, items }, format));
      return;
    }
    sayWhose(view);
    process.stdout.write(formatTable(items, columns, { wide: format === "wide", headers }));
  };
}
