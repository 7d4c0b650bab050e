// SPDX-License-Identifier: Apache-2.0
// A folder of Service and EndpointSlice manifests as a source. A broken file is named, and what it held before stays
// until it is mended or removed; of two files with the same object the first by name has it.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { EndpointSlice, Problem, Service } from "../model/types.ts";
import { type Clock, systemClock } from "./clock.ts";
import { reasonOf, SourceConfigError } from "./config-error.ts";
import { DirectoryWatch } from "./directory-watch.ts";
import { ManifestFolder } from "./manifest-folder.ts";
import type { Source, SourceSink, SourceStatus } from "./source.ts";

export interface ManifestSourceOptions {
  readonly path: string;
  readonly clock?: Clock;
  /** How long a file must be left alone before it is read; default 20. */
  readonly settleMs?: number;
  /** The safety poll; default 5,000. */
  readonly pollMs?: number;
}

type Claim = { readonly file: string; readonly line: number };

export class ManifestSource implements Source {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #settleMs: number;
  readonly #folder: ManifestFolder;
  readonly #watch: DirectoryWatch;
  readonly #stop = new AbortController();
  #sink: SourceSink | null = null;
  #scanning: Promise<void> | null = null;
  #rescan = false;
  #cancelRetry: (() => void) | null = null;
  #synced = false;
  #complete = false;
  /** Why the folder itself cannot be read; null while it can. */
  #away: string | null = null;
  #lastHeardNs = 0n;
  #scans = 0;
  #events = 0;
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, EndpointSlice>();
  #said = new Map<string, readonly Problem[]>();

  /** Throws SourceConfigError if the path is no readable folder now. */
  constructor(options: ManifestSourceOptions) {
    this.#path = resolve(options.path);
    this.#clock = options.clock ?? systemClock;
    this.#settleMs = options.settleMs ?? 20;
    requireFolder(this.#path);
    this.#folder = new ManifestFolder(this.#path, this.#settleMs);
    this.#watch = new DirectoryWatch({
      path: this.#path,
      clock: this.#clock,
      settleMs: this.#settleMs,
      pollMs: options.pollMs ?? 5_000,
      onChange: () => this.#requestScan(),
    });
  }

  start(sink: SourceSink): void {
    this.#sink = sink;
    this.#watch.start();
    this.#requestScan();
  }

  async stop(): Promise<void> {
    this.#sink = null;
    this.#stop.abort();
    this.#watch.stop();
    this.#cancelRetry?.();
    await this.#scanning;
  }

  status(): SourceStatus {
    const broken = this.#folder.broken();
    return {
      source: `dir:${this.#path}`,
      state: this.#away !== null && this.#synced ? "disconnected" : this.#synced ? "synced" : "starting",
      peer: this.#scans > 0 ? this.#path : null,
      reason: this.#away ?? describeBroken(broken),
      lastHeardNs: this.#lastHeardNs,
      counters: {
        events: this.#events,
        scans: this.#scans,
        files: this.#folder.size,
        broken_files: broken.length,
        ignored_objects: this.#folder.ignored,
      },
    };
  }

  /** One scan at a time; a wish during one is granted right after it. */
  #requestScan(): void {
    this.#rescan = true;
    this.#scanning ??= this.#scan().finally(() => {
      this.#scanning = null;
    });
  }

  async #scan(): Promise<void> {
    while (this.#rescan && this.#sink !== null) {
      this.#rescan = false;
      try {
        const { changed, unsettled } = await this.#folder.read(this.#stop.signal);
        this.#away = null;
        this.#scans++;
        this.#lastHeardNs = process.hrtime.bigint();
        if (unsettled) this.#scheduleRetry();
        const first = !this.#synced && !unsettled;
        if (this.#sink !== null && (changed || first)) this.#deliver(this.#sink, first);
      } catch (error) {
        this.#away = `${this.#path} ${reasonOf(error)}`;
      }
    }
  }

  #scheduleRetry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#clock.after(this.#settleMs, () => this.#requestScan());
  }

  #deliver(sink: SourceSink, first: boolean): void {
    const problems = new Map<string, Problem[]>();
    this.#deliverObjects(sink, problems);
    this.#deliverProblems(sink, problems);
    if (first) {
      this.#synced = true;
      sink.synced("services");
      sink.synced("endpointslices");
    }
    if (this.#synced && !this.#complete && this.#folder.complete) {
      this.#complete = true;
      sink.complete?.();
    }
  }

  #deliverObjects(sink: SourceSink, problems: Map<string, Problem[]>): void {
    const receivedNs = this.#lastHeardNs;
    const services = new Map<string, Claim>();
    const slices = new Map<string, Claim>();
    for (const { file, entry } of this.#folder.entries()) {
      const claims = entry.kind === "Service" ? services : slices;
      const owner = claims.get(entry.key);
      if (owner !== undefined) {
        const reason = `${entry.kind} ${entry.key} is defined in ${owner.file} line ${owner.line} already; that one is used`;
        add(problems, { kind: "File", key: file, field: `line ${entry.line}`, reason });
        continue;
      }
      claims.set(entry.key, { file, line: entry.line });
      for (const problem of entry.decoded.problems) add(problems, problem);
      // Rejected: what it was before stays, as for a broken file.
      if (entry.decoded.object === null && entry.decoded.problems.length > 0) continue;
      const changed =
        entry.kind === "Service"
          ? put(this.#services, entry.key, entry.decoded.object, (object) =>
              sink.service(entry.key, object, receivedNs),
            )
          : put(this.#slices, entry.key, entry.decoded.object, (object) =>
              sink.endpointSlice(entry.key, object, receivedNs),
            );
      if (changed) this.#events++;
    }
    this.#events += sweep(this.#services, services, (key) => sink.service(key, null, receivedNs));
    this.#events += sweep(this.#slices, slices, (key) => sink.endpointSlice(key, null, receivedNs));
  }

  #deliverProblems(sink: SourceSink, problems: Map<string, Problem[]>): void {
    for (const problem of this.#folder.broken()) add(problems, problem);
    for (const [subject, said] of this.#said) {
      const first = said[0];
      if (first !== undefined && !problems.has(subject)) sink.problems(first.kind, first.key, []);
    }
    for (const [subject, list] of problems) {
      const first = list[0];
      if (first === undefined || isDeepStrictEqual(this.#said.get(subject), list)) continue;
      sink.problems(first.kind, first.key, list);
    }
    this.#said = problems;
  }
}

function requireFolder(path: string): void {
  try {
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    throw new SourceConfigError(`source folder ${path}: ${reasonOf(error)}`);
  }
  throw new SourceConfigError(`source folder ${path}: is not a directory`);
}

function describeBroken(broken: readonly Problem[]): string | null {
  const first = broken[0];
  if (first === undefined) return null;
  const more = broken.length > 1 ? ` (and ${broken.length - 1} more broken files)` : "";
  return `${first.key}${first.field === "" ? "" : ` ${first.field}`}: ${first.reason}${more}`;
}

function add(problems: Map<string, Problem[]>, problem: Problem): void {
  const subject = `${problem.kind} ${problem.key}`;
  const list = problems.get(subject);
  if (list === undefined) problems.set(subject, [problem]);
  else list.push(problem);
}

/** Sets or (null) deletes; an object equal to the one there is no change. */
function put<T>(held: Map<string, T>, key: string, object: T | null, tell: (object: T | null) => void): boolean {
  const before = held.get(key);
  if (object === null ? before === undefined : isDeepStrictEqual(before, object)) return false;
  if (object === null) held.delete(key);
  else held.set(key, object);
  tell(object);
  return true;
}

/** Deletes what nobody claims any more; answers how many. */
function sweep<T>(held: Map<string, T>, claims: ReadonlyMap<string, Claim>, tell: (key: string) => void): number {
  let deleted = 0;
  for (const key of held.keys()) {
    if (claims.has(key)) continue;
    held.delete(key);
    tell(key);
    deleted++;
  }
  return deleted;
}
