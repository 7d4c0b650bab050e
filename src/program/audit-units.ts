// SPDX-License-Identifier: Apache-2.0
// One unit's backends, slots and words as the maps have them; and the ids that no unit has.

import { ENDPOINT_STRIDE } from "../compile/unit.ts";
import type { AuditedMaps } from "../datapath/audit-port.ts";
import { formatAddress } from "../model/address.ts";
import type { Findings } from "./findings.ts";
import { BrokenPicture, type Picture } from "./picture.ts";
import { flagsAt } from "./set-plan.ts";
import { REJECTED, SET_NAMES, SETS, type SetName, type UnitState, wordOf } from "./unit-state.ts";

/** Ids compared in one step. */
const IDS = 1 << 16;

export interface UnitAudit {
  readonly picture: Picture;
  readonly state: UnitState;
  readonly findings: Findings;
}

/** What leads to nothing first: a backend is right before a slot leads to it, slots are before their word does. */
export function auditUnit(port: AuditedMaps, audit: UnitAudit): void {
  const { state, picture, findings } = audit;
  const { serviceId, key } = state;
  if (serviceId === 0) return;
  if (!picture.serviceIds.isTaken(serviceId))
    throw new BrokenPicture(`${key} has service id ${serviceId}, which is free`);
  for (let index = 0; index < state.backendIds.length; index++) auditBackend(port, audit, index);
  for (const set of SET_NAMES) {
    // What a crash left is written afresh by the next plan.
    if ((state.stale & SETS[set]) !== 0) continue;
    auditSlots(port, audit, set);
    const extent = state.extents[set];
    if (port.audit.hasExtent(serviceId, set, extent)) continue;
    findings.mend("service", `${serviceId} of ${key}, its ${set} word`, () => {
      if (set === "cluster") port.setCluster(serviceId, wordOf(extent));
      else port.setLocal(serviceId, wordOf(extent));
    });
  }
  if (port.audit.affinitySec(serviceId) === state.affinitySec) return;
  findings.mend("service", `${serviceId} of ${key}, its affinity`, () =>
    port.setAffinity(serviceId, state.affinitySec),
  );
}

function auditBackend(port: AuditedMaps, { state, picture, findings }: UnitAudit, index: number): void {
  const { serviceId, endpoints, protocol } = state;
  const id = state.backendIds[index] ?? 0;
  if (!picture.backendIds.isTaken(id)) throw new BrokenPicture(`${state.key} has backend id ${id}, which is free`);
  const endpoint = index * ENDPOINT_STRIDE;
  const generation = picture.backends.generation(id);
  const flags = picture.backends.flags(id);
  if (port.audit.hasBackend(id, { endpoints, endpoint, protocol, serviceId, generation, flags })) return;
  const address = endpoints.slice(endpoint, endpoint + 16);
  const number = ((endpoints[endpoint + 16] ?? 0) << 8) | (endpoints[endpoint + 17] ?? 0);
  findings.mend("backend", `${id} of ${state.key}, ${formatAddress(address)} port ${number}`, () =>
    port.audit.restoreBackend(id, { address, port: number, protocol, serviceId, generation, flags }),
  );
}

/** Each member stands in one slot, in any order: members that are missing take the places of what is none. */
function auditSlots(port: AuditedMaps, { state, findings }: UnitAudit, set: SetName): void {
  const { base, count } = state.extents[set];
  if (count === 0) return;
  const slots = port.slots(base, count);
  if (isInOrder(slots, state, set)) return;
  const missing = new Set<number>();
  state.backendIds.forEach((id, index) => {
    if ((flagsAt(state.endpoints, index) & SETS[set]) !== 0) missing.add(id);
  });
  const wrong: number[] = [];
  slots.forEach((id, place) => {
    if (!missing.delete(id)) wrong.push(place);
  });
  for (const [n, id] of [...missing].entries()) {
    const place = base + (wrong[n] ?? 0);
    findings.mend("slot", `${place} of ${state.key}`, () => port.writeSlots(place, Uint32Array.of(id)));
  }
}

/** As most of them are, since they were written at once. */
function isInOrder(slots: Uint32Array, { endpoints, backendIds }: UnitState, set: SetName): boolean {
  let next = 0;
  for (let index = 0; index < backendIds.length; index++) {
    if ((flagsAt(endpoints, index) & SETS[set]) !== 0 && slots[next++] !== backendIds[index]) return false;
  }
  return next === slots.length;
}

/** Nobody is led to these; but whoever leads there, or takes them next, must find them out of use. */
export function* auditUnusedIds(port: AuditedMaps, picture: Picture, findings: Findings): Generator<void> {
  const { backends, serviceIds } = picture;
  for (let id = 1; id < Math.min(backends.end, port.capacity.backends); id++) {
    if (id % IDS === 0) yield;
    if (port.backendFlags(id) === backends.flags(id) && port.backendGeneration(id) === backends.generation(id))
      continue;
    findings.mend("backend", `${id}, which is no unit's`, () => backends.restore(id));
  }
  for (let id = 1; id < serviceIds.end; id++) {
    if (id % IDS === 0) yield;
    if (serviceIds.isTaken(id)) continue;
    for (const set of SET_NAMES) {
      if (port.audit.hasExtent(id, set, REJECTED)) continue;
      findings.mend("service", `${id}, which is no unit's`, () => {
        if (set === "cluster") port.setCluster(id, wordOf(REJECTED));
        else port.setLocal(id, wordOf(REJECTED));
      });
    }
  }
}
