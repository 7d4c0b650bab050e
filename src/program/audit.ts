// SPDX-License-Identifier: Apache-2.0
// Compares the maps with what was programmed and mends what differs, in the order in which new things are written: bits,
// names, backends, slots, words, source ranges, rows. It never meets a change that is under way: apply() runs in one turn
// of the event loop, and so does each step here, which compares what it has just read with the picture of this moment.

import type { AuditedMaps } from "../datapath/audit-port.ts";
import { auditFrontends } from "./audit-frontends.ts";
import { auditRanges } from "./audit-ranges.ts";
import { auditUnit, auditUnusedIds } from "./audit-units.ts";
import type { Findings } from "./findings.ts";
import type { Picture } from "./picture.ts";
import type { UnitState } from "./unit-state.ts";

/** Units compared in one step: at 25 endpoints each about a millisecond. */
const UNITS = 256;

/** The maps at a moment when nothing was wrong with them. */
interface Clean {
  readonly writes: number;
  readonly digest: string;
}

export class Audit {
  readonly #port: AuditedMaps;
  readonly #picture: Picture;
  #clean: Clean | null = null;

  constructor(port: AuditedMaps, picture: Picture) {
    this.#port = port;
    this.#picture = picture;
  }

  /**
   * One audit, a short step at a time; whatever else may happen between the steps. While nothing was written since the
   * last one that found nothing, it is enough that the maps' digest is the same. Throws BrokenPicture; or BpfError, if the
   * maps cannot be read.
   */
  *run(findings: Findings): Generator<void, void> {
    const { audit } = this.#port;
    this.#auditBits(findings);
    const { writes } = this.#port;
    const { serviceIds, backends, slots } = this.#picture;
    const digest = yield* audit.digest({ services: serviceIds.end, backends: backends.end, slots: slots.end });
    const clean = this.#clean;
    if (clean?.writes === writes && this.#port.writes === writes && clean.digest === digest) return;
    this.#clean = null;
    yield* this.#compare(findings);
    // The digest is from before: damage that came after its place was compared will show in the next one.
    const untouched = this.#port.writes === writes && findings.failed === 0;
    if (untouched) this.#clean = { writes, digest };
  }

  *#compare(findings: Findings): Generator<void> {
    yield* this.#auditNames(findings);
    let left = UNITS;
    for (const state of this.#picture.units.values()) {
      auditUnit(this.#port, { picture: this.#picture, state, findings });
      if (--left > 0) continue;
      left = UNITS;
      yield;
    }
    yield* auditUnusedIds(this.#port, this.#picture, findings);
    auditRanges(this.#port, this.#picture, findings);
    yield* auditFrontends(this.#port, this.#picture.table, findings);
    this.#picture.nodeAddresses.audit(findings);
  }

  #auditBits(findings: Findings): void {
    const mended = this.#port.audit.mendAddressBits();
    if (mended > 0) findings.mend("address-bits", `${mended} words`, () => {}, mended);
  }

  *#auditNames(findings: Findings): Generator<void> {
    const named = new Map<number, UnitState>();
    for (const state of this.#picture.units.values()) if (hasName(state)) named.set(state.serviceId, state);
    let found = 0;
    for (const batch of this.#port.audit.nameBatches()) {
      for (const [id, row] of batch) {
        const state = this.#current(named.get(id));
        if (state !== null) found++;
        if (state === null) this.#auditForeignName(id, findings);
        else if (row.name !== state.name || row.family !== state.family || row.protocol !== state.protocol) {
          findings.mend("name", `of ${state.key}`, () => this.#port.setName(id, state));
        }
      }
      yield;
    }
    if (found < named.size) yield* this.#auditMissingNames(named, findings);
  }

  *#auditMissingNames(named: ReadonlyMap<number, UnitState>, findings: Findings): Generator<void> {
    let left = UNITS;
    for (const [id, known] of named) {
      const state = this.#current(known);
      if (state !== null && !this.#port.audit.hasName(id)) {
        findings.mend("name", `of ${state.key}`, () => this.#port.setName(id, state));
      }
      if (--left > 0) continue;
      left = UNITS;
      yield;
    }
  }

  /** The unit as long as it is one: it may have gone between two steps. */
  #current(state: UnitState | undefined): UnitState | null {
    return state !== undefined && this.#picture.units.get(state.key) === state ? state : null;
  }

  /** Ids that are taken without being a unit's wait for their grace period, and keep their name until then. */
  #auditForeignName(id: number, findings: Findings): void {
    if (this.#picture.serviceIds.isTaken(id)) return;
    findings.mend("name", `of service id ${id}, which is nobody's`, () => this.#port.deleteName(id));
  }
}

/** Units found at the start under a lost name have none. */
function hasName({ serviceId, name }: UnitState): boolean {
  return serviceId !== 0 && name !== "";
}
