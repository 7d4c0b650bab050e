// SPDX-License-Identifier: Apache-2.0
// A folder of Service and EndpointSlice manifests as a source, and of our Node and ServiceCIDRs if somebody writes them.
// A broken file is named, and what it held before stays until it is mended or removed; of two files with the same object
// the first by name has it.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Problem } from "../model/types.ts";
import { type Clock, systemClock } from "./clock.ts";
import { reasonOf, SourceConfigError } from "./config-error.ts";
import { DirectoryWatch } from "./directory-watch.ts";
import type { ManifestEntry } from "./manifest-file.ts";
import { ManifestFolder } from "./manifest-folder.ts";
import { ServiceCidrs } from "./node-watch.ts";
import type { Source, SourceSink, SourceStatus } from "./source.ts";

export interface ManifestSourceOptions {
  readonly path: string;
  /** The Node that counts; left out: none does. */
  readonly nodeName?: string;
  /** Services of exactly this service-proxy-name are ours; null or left out: those without any. */
  readonly serviceProxyName?: string | null;
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
  readonly #nodeName: string | null;
  /** What was delivered, by subject. */
  readonly #held = new Map<string, ManifestEntry>();
  #cidrs = new ServiceCidrs(() => undefined);
  #said = new Map<string, readonly Problem[]>();

  /** Throws SourceConfigError if the path is no readable folder now. */
  constructor(options: ManifestSourceOptions) {
    this.#path = resolve(options.path);
    this.#clock = options.clock ?? systemClock;
    this.#settleMs = options.settleMs ?? 20;
    requireFolder(this.#path);
    this.#nodeName = options.nodeName ?? null;
    this.#folder = new ManifestFolder(this.#path, this.#settleMs, options.serviceProxyName ?? null);
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
    this.#cidrs = new ServiceCidrs((cidrs) => sink.serviceCidrs?.(cidrs));
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
      denied: null,
      refused: [],
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
      this.#cidrs.synced();
      sink.synced("services");
      sink.synced("endpointslices");
    }
    if (this.#synced && !this.#complete && this.#folder.complete) {
      this.#complete = true;
      sink.complete?.();
    }
  }

  #deliverObjects(sink: SourceSink, problems: Map<string, Problem[]>): void {
    const claims = new Map<string, Claim>();
    for (const { file, entry } of this.#folder.entries()) {
      if (entry.kind === "Node" && entry.key !== this.#nodeName) continue;
      const subject = `${entry.kind} ${entry.key}`;
      const owner = claims.get(subject);
      if (owner !== undefined) {
        const reason = `${subject} is defined in ${owner.file} line ${owner.line} already; that one is used`;
        add(problems, { kind: "File", key: file, field: `line ${entry.line}`, reason });
        continue;
      }
      claims.set(subject, { file, line: entry.line });
      for (const problem of entry.decoded.problems) add(problems, problem);
      // Rejected: what it was before stays, as for a broken file.
      const rejected = entry.decoded.object === null && entry.decoded.problems.length > 0;
      if (!rejected) this.#put(sink, subject, entry);
    }
    for (const [subject, entry] of this.#held) if (!claims.has(subject)) this.#take(sink, subject, entry);
  }

  /** An object equal to the one there is no change; null is what is not ours (any more). */
  #put(sink: SourceSink, subject: string, entry: ManifestEntry): void {
    const before = this.#held.get(subject);
    if (entry.decoded.object === null) {
      if (before !== undefined) this.#take(sink, subject, before);
    } else if (!isDeepStrictEqual(before?.decoded.object, entry.decoded.object)) {
      this.#held.set(subject, entry);
      this.#tell(sink, entry, false);
    }
  }

  #take(sink: SourceSink, subject: string, entry: ManifestEntry): void {
    this.#held.delete(subject);
    this.#tell(sink, entry, true);
  }

  #tell(sink: SourceSink, entry: ManifestEntry, gone: boolean): void {
    this.#events++;
    if (entry.kind === "Service") sink.service(entry.key, gone ? null : entry.decoded.object, this.#lastHeardNs);
    else if (entry.kind === "EndpointSlice")
      sink.endpointSlice(entry.key, gone ? null : entry.decoded.object, this.#lastHeardNs);
    else if (entry.kind === "Node") sink.node?.(gone ? null : entry.decoded.object, this.#lastHeardNs);
    else this.#cidrs.set(entry.key, gone ? null : entry.decoded.object);
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
