// SPDX-License-Identifier: Apache-2.0
// When the datapath is looked over for what somebody else has done to it, and what came of it. Maps and pins each period,
// in slices that hold nothing else up; the links, without which nothing works and which cost little, each second.

import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { PIN_DAMAGE, type PinDamage } from "../datapath/pin-audit.ts";
import type { Programs } from "../datapath/programs.ts";
import type { Audit } from "../program/audit.ts";
import { Findings, MAP_DAMAGE, type MapDamage } from "../program/findings.ts";
import { BrokenPicture } from "../program/picture.ts";

export type Damage = MapDamage | PinDamage;
type Found = Pick<Findings<Damage>, "repaired" | "examples" | "failed" | "failure">;

/** Spent at once, and between two slices, in milliseconds. */
const SLICE_MS = 2;
const REST_MS = 4;
const LINKS_MS = 1_000;

export interface AuditReport {
  readonly periodSec: number;
  /** Finished ones. */
  readonly audits: number;
  /** Unix milliseconds of the end of the last; 0: none yet. */
  readonly lastMs: number;
  /** Of the last: time spent, and the longest that nothing else could happen. */
  readonly workMs: number;
  readonly longestSliceMs: number;
  /** Since the start, by kind. */
  readonly repaired: Readonly<Record<Damage, number>>;
  readonly repairedTotal: number;
  /** Unix milliseconds; 0: never anything. */
  readonly lastRepairMs: number;
  /** Damage that the last audit could not mend: why, and how much; null: none. */
  readonly failure: string | null;
  readonly failed: number;
}

export interface AuditorParts {
  readonly audit: Audit;
  readonly programs: Pick<Programs, "audit" | "auditLinks">;
  readonly periodSec: number;
  readonly log: Logger;
  /** The picture itself is broken. */
  readonly onFatal: (error: Error) => void;
}

interface Work {
  /** Why it did not come to its end; null: it did. */
  readonly failure: string | null;
  readonly workMs: number;
  readonly longestSliceMs: number;
}

const NONE = Object.fromEntries([...MAP_DAMAGE, ...PIN_DAMAGE].map((kind) => [kind, 0])) as Record<Damage, number>;

export class Auditor {
  readonly #parts: AuditorParts;
  readonly #stopping = new AbortController();
  readonly #repaired = { ...NONE };
  #running: Promise<unknown> | null = null;
  #links: NodeJS.Timeout | null = null;
  #linksBroken = false;
  #last = { audits: 0, lastMs: 0, workMs: 0, longestSliceMs: 0, failed: 0 };
  #failure: string | null = null;
  #lastRepairMs = 0;

  constructor(parts: AuditorParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#links = setInterval(() => this.#auditLinks(), LINKS_MS);
    this.#running = this.#run();
  }

  /** Nothing is looked at or written any more once this resolves. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#links !== null) clearInterval(this.#links);
    await this.#running;
  }

  report(): AuditReport {
    const { periodSec } = this.#parts;
    const repairedTotal = Object.values(this.#repaired).reduce((sum, count) => sum + count, 0);
    const repaired = { ...this.#repaired };
    return {
      periodSec,
      ...this.#last,
      repaired,
      repairedTotal,
      lastRepairMs: this.#lastRepairMs,
      failure: this.#failure,
    };
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      for (;;) {
        await sleep(this.#parts.periodSec * 1_000, undefined, { signal });
        await this.#auditAll(signal);
      }
    } catch (error) {
      if (!signal.aborted) this.#parts.onFatal(error as Error);
    }
  }

  /** Rejects with BrokenPicture, or when the signal is given. */
  async #auditAll(signal: AbortSignal): Promise<void> {
    const pins = new Findings<PinDamage>();
    const maps = new Findings();
    const startMs = performance.now();
    const pinFailure = this.#attempt(() => this.#parts.programs.audit(pins));
    const pinMs = performance.now() - startMs;
    const { failure, workMs, longestSliceMs } = await this.#auditMaps(maps, signal);
    this.#failure = pinFailure ?? failure ?? pins.failure ?? maps.failure;
    this.#last = {
      audits: this.#last.audits + 1,
      lastMs: Date.now(),
      workMs: workMs + pinMs,
      longestSliceMs: Math.max(longestSliceMs, pinMs),
      failed: pins.failed + maps.failed,
    };
    this.#tell([pins, maps]);
  }

  async #auditMaps(findings: Findings, signal: AbortSignal): Promise<Work> {
    const steps = this.#parts.audit.run(findings);
    const work = { failure: null as string | null, workMs: 0, longestSliceMs: 0 };
    for (let done = false; !done; ) {
      const startMs = performance.now();
      work.failure = this.#attempt(() => {
        done = takeSlice(steps, startMs);
      });
      const spentMs = performance.now() - startMs;
      work.workMs += spentMs;
      work.longestSliceMs = Math.max(work.longestSliceMs, spentMs);
      if (work.failure !== null) break;
      if (!done) await sleep(REST_MS, undefined, { signal });
    }
    return work;
  }

  /** Why the kernel could not even be asked; null: it could. */
  #attempt(work: () => void): string | null {
    try {
      work();
      return null;
    } catch (error) {
      if (error instanceof BrokenPicture) throw error;
      return (error as Error).message;
    }
  }

  #auditLinks(): void {
    const links = new Findings<PinDamage>();
    const failure = this.#attempt(() => this.#parts.programs.auditLinks(links));
    const broken = failure !== null || links.failed > 0;
    // What stays broken is told by the audits.
    if (links.total > 0 || (broken && !this.#linksBroken)) this.#tell([links], failure);
    this.#linksBroken = broken;
  }

  #tell(found: readonly Found[], failure = this.#failure): void {
    const repaired: Partial<Record<Damage, number>> = {};
    for (const [kind, count] of found.flatMap((findings) => [...findings.repaired])) {
      this.#repaired[kind] += count;
      repaired[kind] = (repaired[kind] ?? 0) + count;
    }
    const examples = found.flatMap((findings) => findings.examples);
    if (examples.length > 0) this.#lastRepairMs = Date.now();
    const left = found.reduce((sum, findings) => sum + findings.failed, 0);
    if (left > 0 || failure !== null) {
      this.#parts.log.error({ repaired, examples, left, failure }, "the datapath is not as it was programmed");
    } else if (examples.length > 0) {
      this.#parts.log.warn({ repaired, examples }, "somebody changed the datapath: it is as it was programmed again");
    }
  }
}

/** Steps until the slice is full; whether it came to the end. */
function takeSlice(steps: Generator<void, void>, startMs: number): boolean {
  do {
    if (steps.next().done) return true;
  } while (performance.now() - startMs < SLICE_MS);
  return false;
}
