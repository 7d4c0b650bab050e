// SPDX-License-Identifier: Apache-2.0
// The rows of pt_frontends: those that are nobody's go, those that were changed or deleted come back.

import type { AuditedMaps, StoredFrontend } from "../datapath/audit-port.ts";
import type { FrontendRow } from "../datapath/port.ts";
import { formatAddress } from "../model/address.ts";
import type { Findings } from "./findings.ts";
import { anyPortRow, type FrontendTable, rowFor, specOf } from "./frontend-table.ts";

/** Rows looked up in one step. */
const ROWS = 256;

export function* auditFrontends(port: AuditedMaps, table: FrontendTable, findings: Findings): Generator<void> {
  let known = 0;
  for (const batch of port.audit.frontendBatches()) {
    for (const row of batch) if (auditRow(port, { table, row, findings })) known++;
    yield;
  }
  if (known < table.size) yield* auditMissing(port, table, findings);
}

/** Whether there is to be such a row. */
function auditRow(
  port: AuditedMaps,
  { table, row, findings }: { table: FrontendTable; row: StoredFrontend; findings: Findings },
): boolean {
  const wanted = row.stray === null ? wantedRow(table, row) : null;
  if (wanted === null) {
    findings.mend("frontend", `${textOf(row)}, which is nobody's`, () => {
      if (row.stray === null) port.deleteFrontend(row);
      else port.audit.deleteStray(row.stray);
    });
    return false;
  }
  if (wanted !== "as it is" && (wanted.serviceId !== row.serviceId || wanted.flags !== row.flags)) {
    findings.mend("frontend", textOf(row), () => port.putFrontend(wanted));
  }
  return true;
}

/** Rows that led to no service id when they were found are kept as they are until they may be deleted. */
function wantedRow(table: FrontendTable, row: FrontendRow): FrontendRow | "as it is" | null {
  const spec = specOf(row);
  if (spec === null) {
    const address = formatAddress(row.address);
    if (row.port !== 0 || !table.hasAnyPort(address)) return null;
    return anyPortRow(address);
  }
  const owned = table.get(spec.key);
  if (owned === undefined) return null;
  return owned.owner.serviceId === 0 ? "as it is" : rowFor(owned.row, owned.owner.serviceId);
}

function* auditMissing(port: AuditedMaps, table: FrontendTable, findings: Findings): Generator<void> {
  let left = ROWS;
  for (const row of wantedRows(table)) {
    if (!port.audit.hasFrontend(row)) findings.mend("frontend", textOf(row), () => port.putFrontend(row));
    if (--left > 0) continue;
    left = ROWS;
    yield;
  }
}

function* wantedRows(table: FrontendTable): Generator<FrontendRow> {
  for (const { row, owner } of table.rows()) yield rowFor(row, owner.serviceId);
  for (const address of table.anyPorts()) yield anyPortRow(address);
}

function textOf({ address, port, protocol }: FrontendRow): string {
  return `${formatAddress(address)} port ${port} protocol ${protocol}`;
}
