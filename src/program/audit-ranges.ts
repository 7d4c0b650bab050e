// SPDX-License-Identifier: Apache-2.0
// The rows of pt_src_ranges: those that are nobody's go, those that were deleted come back. In one step, as few Services
// have any.

import type { MapPort } from "../datapath/port.ts";
import type { Findings } from "./findings.ts";
import type { Picture } from "./picture.ts";
import { prefixText, rangeOf } from "./source-ranges.ts";

export function auditRanges(port: MapPort, { units, ranges }: Picture, findings: Findings): void {
  const missing = new Map<string, { readonly serviceId: number; readonly prefix: string }>();
  for (const { serviceId, ranges: prefixes } of units.values()) {
    for (const prefix of prefixes) missing.set(`${serviceId} ${prefix}`, { serviceId, prefix });
  }
  for (const range of port.sourceRanges()) {
    const { serviceId } = range;
    const prefix = prefixText(range);
    if (missing.delete(`${serviceId} ${prefix}`) || ranges.isLeaving(serviceId, prefix)) continue;
    const what = `${prefix} of service id ${serviceId}, which is nobody's`;
    findings.mend("source-range", what, () => port.deleteSourceRange(range));
  }
  for (const { serviceId, prefix } of missing.values()) {
    const what = `${prefix} of service id ${serviceId}`;
    findings.mend("source-range", what, () => port.putSourceRange(rangeOf(serviceId, prefix)));
  }
}
