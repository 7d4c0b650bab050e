// SPDX-License-Identifier: Apache-2.0
// Keeps one kind of object in step with the API server, for ever: decides after each request what to ask next, of which
// server and when. Watch-list where the server can, pages and a watch where it cannot; resume from the last version
// heard; relist when that is gone; and a measured pace when nothing works.

import type { ApiClient } from "./api-client.ts";
import {
  CorruptStreamError,
  InterruptedError,
  MassDeletionError,
  OtherClusterError,
  SilenceError,
  StatusError,
  UnreachableError,
  WentBackError,
} from "./api-error.ts";
import { Backoff } from "./backoff.ts";
import { type Clock, sleep } from "./clock.ts";
import { Comparison } from "./comparison.ts";
import { LineTooLongError } from "./line-splitter.ts";
import { ListWatch, type Resource, type Target } from "./list-watch.ts";
import { ServerAbilities } from "./server-abilities.ts";
import type { ServerPool } from "./servers.ts";

/** A relist of one kind lacked most of what was known: it was held, or a second read has decided. */
export interface MassDeletionNotice {
  readonly resource: string;
  readonly server: string;
  readonly state: "held" | "confirmed" | "refuted";
  /** Objects that the first list lacked, of so many that were known. */
  readonly missing: number;
  readonly of: number;
}

export interface ReflectorWatcher {
  readonly onMassDeletion?: (notice: MassDeletionNotice) => void;
  /** A comparison found what the watch had not told; a relist mends it. */
  readonly onMissedEvents?: (resource: string, keys: readonly string[]) => void;
}

export interface ReflectorOptions<T> {
  readonly resource: Resource<T>;
  readonly client: ApiClient;
  readonly pool: ServerPool;
  readonly clock: Clock;
  readonly watcher?: ReflectorWatcher;
  /** A relist that lacks most of what is known counts only if a second consistent one does too; default true. */
  readonly confirmMassDeletion?: boolean;
  /** Throws OtherClusterError if the server is another cluster's; asked before that second read. */
  readonly checkCluster?: (server: string, signal: AbortSignal) => Promise<void>;
  /** Mean time between two comparisons of what the watch told with a list; default an hour. */
  readonly compareMs?: number;
}

export interface ReflectorStatus {
  readonly synced: boolean;
  /** The last request was answered and did not fail since. */
  readonly connected: boolean;
  /** Why not; null if connected. */
  readonly reason: string | null;
  /** The status with which the server turns this login away, 401 or 403; null while it does not. */
  readonly denied: number | null;
  /** The server's word on why it does not show this kind; null if it does, or gave no answer. */
  readonly refusal: string | null;
  /** A mass deletion that waits for its confirmation, in words; null if none does. */
  readonly held: string | null;
  /** The server that answered last; null before the first answer. */
  readonly server: string | null;
  readonly lastHeardNs: bigint;
  readonly counters: Readonly<Record<string, number>>;
}

/** A list costs a server much: where the fifth in a row did not help, one or two a minute must do. */
const SHORT_RELISTS = 4;
/** Relists at least this far apart are no storm. */
const CALM_MS = 120_000;
/** A server that ends watches cleanly at once is not overloaded: events must not wait long for the next one. */
const CLEAN_END_MAX_MS = 5_000;
const COMPARE_MS = 3_600_000;
const MAX_STREAM_FAILURES = 3;
/** The server answers, and not to us. */
const DENIED: ReadonlySet<number> = new Set([401, 403]);
/** The server understood, and will answer the same the next time. */
const NOT_SHOWN: ReadonlySet<number> = new Set([400, 403, 404]);

export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #pool: ServerPool;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  readonly #requests: ListWatch<T>;
  readonly #comparison: Comparison<T>;
  readonly #retry: Backoff;
  readonly #relist: Backoff;
  readonly #abilities = new Map<string, ServerAbilities>();
  readonly #tried = new Set<string>();
  readonly #counters = {
    unreachable: 0,
    http_errors: 0,
    error_events: 0,
    gone: 0,
    resets: 0,
    corrupt_lines: 0,
    oversized_lines: 0,
    idle_timeouts: 0,
    mass_deletions_held: 0,
    other_clusters: 0,
    versions_went_back: 0,
  };
  #running: Promise<unknown> | null = null;
  #connected = false;
  #reason: string | null = null;
  #denied: number | null = null;
  #refusal: string | null = null;
  #server: string | null = null;
  #lastRelistMs = Number.NEGATIVE_INFINITY;
  /** The page token expired on the way: the next list is asked for in one response. */
  #unpaged = false;
  /** Streams in a row that broke their own protocol. */
  #streamFailures = 0;
  /** The server was away, or the last watch never said a word: a backup may have been put back, of before our version. */
  #doubtful = false;
  /** The next relist is a consistent list. */
  #confirming = false;
  #held: MassDeletionError | null = null;
  #reread: PromiseWithResolvers<void> | null = null;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#pool = options.pool;
    this.#clock = options.clock;
    this.#retry = new Backoff(options.clock);
    this.#relist = new Backoff(options.clock, SHORT_RELISTS);
    const { signal } = this.#abort;
    this.#requests = new ListWatch({
      resource: options.resource,
      client: options.client,
      clock: options.clock,
      signal,
      holdsMassDeletion: options.confirmMassDeletion ?? true,
      onOpen: (server) => this.#opened(server),
    });
    this.#comparison = new Comparison({
      requests: this.#requests,
      clock: options.clock,
      signal,
      everyMs: options.compareMs ?? COMPARE_MS,
      target: () => this.#watched(),
      onMissed: (keys) => this.#missed(keys),
    });
  }

  start(): void {
    this.#running ??= Promise.all([this.#run(), this.#comparison.run()]);
  }

  /** Resolves when nothing will be delivered any more. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  /** What is delivered now comes of a list and not of the watch. */
  get relisting(): boolean {
    return this.#requests.version === null;
  }

  /** Lists everything once more, consistently. Resolves when that is through. */
  reread(): Promise<void> {
    this.#reread ??= Promise.withResolvers();
    this.#confirming = true;
    this.#requests.forgetTold();
    this.#requests.interrupt();
    return this.#reread.promise;
  }

  status(): ReflectorStatus {
    const { objects, counters, synced, lastHeardNs } = this.#requests;
    return {
      synced,
      connected: this.#connected,
      reason: this.#connected ? null : this.#reason,
      denied: this.#connected ? null : this.#denied,
      refusal: this.#refusal,
      held: this.#held?.message ?? null,
      server: this.#server,
      lastHeardNs,
      counters: { ...counters, ...objects.counters, ...this.#comparison.counters, ...this.#counters },
    };
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      const server = this.#pool.current;
      let delayMs: number;
      try {
        delayMs = await this.#once(server);
      } catch (error) {
        if (signal.aborted) return;
        delayMs = this.#failed(error, server);
      }
      if (delayMs > 0) await sleep(this.#clock, delayMs, signal);
    }
  }

  /** One list or one watch; answers how long to wait before the next. */
  async #once(server: string): Promise<number> {
    const abilities = this.#abilitiesOf(server);
    const target = this.#target(server);
    if (this.#requests.version !== null) {
      if (this.#doubtful) await this.#checkHistory(target);
      await this.#requests.watch(target);
    } else if (this.#confirming || !abilities.watchList) {
      await this.#list(target);
      return 0;
    } else {
      this.#beginRelist();
      await this.#requests.watchList(target);
      abilities.watchListEnded(true);
    }
    this.#streamFailures = 0;
    if (this.#requests.healthy) this.#retry.reset();
    return this.#requests.livedLong ? 0 : this.#retry.next(CLEAN_END_MAX_MS);
  }

  /** A history that went back is seen by its version; one that has overtaken ours since, only by a comparison. */
  async #checkHistory(target: Target): Promise<void> {
    await this.#requests.checkVersion(target);
    this.#doubtful = false;
    this.#comparison.hasten();
  }

  async #list(target: Target): Promise<void> {
    // Who asks for one meanwhile asks for the next.
    const wanted = this.#reread;
    this.#beginRelist();
    if (this.#held !== null) await this.#options.checkCluster?.(target.server, this.#abort.signal);
    await this.#requests.list(target, !this.#unpaged);
    this.#unpaged = false;
    this.#confirming = this.#reread !== wanted;
    if (this.#held !== null) this.#notify(this.#requests.objects.swept > 0 ? "confirmed" : "refuted", target.server);
    this.#held = null;
    wanted?.resolve();
    if (!this.#confirming) this.#reread = null;
  }

  /** Where the watch that is up goes to. */
  #watched(): Target | null {
    return this.#connected && this.#server !== null && this.#requests.openForMs > 0 ? this.#target(this.#server) : null;
  }

  #target(server: string): Target {
    return { server, fieldSelector: this.#abilitiesOf(server).fieldSelector };
  }

  #beginRelist(): void {
    const now = this.#clock.now();
    if (now - this.#lastRelistMs > CALM_MS) this.#relist.reset();
    this.#lastRelistMs = now;
  }

  #opened(server: string): void {
    this.#server = server;
    this.#connected = true;
    this.#refusal = null;
    this.#tried.clear();
  }

  #abilitiesOf(server: string): ServerAbilities {
    let abilities = this.#abilities.get(server);
    if (abilities === undefined) {
      abilities = new ServerAbilities();
      this.#abilities.set(server, abilities);
    }
    return abilities;
  }

  /** Counts the failure, remembers what it says of the server; answers how long to wait. */
  #failed(error: unknown, server: string): number {
    if (error instanceof MassDeletionError) return this.#hold(error, server);
    if (error instanceof WentBackError) return this.#wentBack();
    if (error instanceof InterruptedError) {
      this.#requests.forgetVersion();
      return 0;
    }
    this.#connected = false;
    this.#reason = `${server}: ${error instanceof Error ? error.message : String(error)}`;
    this.#denied = error instanceof StatusError && DENIED.has(error.status) ? error.status : null;
    if (this.#requests.healthy) {
      this.#retry.reset();
      this.#streamFailures = 0;
    }
    if (error instanceof StatusError) return this.#refused(error, server);
    if (error instanceof UnreachableError || error instanceof OtherClusterError) {
      this.#counters[error instanceof UnreachableError ? "unreachable" : "other_clusters"]++;
      this.#doubtful = true;
      return this.#tryNext(server);
    }
    if (this.#requests.initial) this.#abilitiesOf(server).watchListEnded(false);
    if (error instanceof SilenceError) {
      this.#counters.idle_timeouts++;
      this.#doubtful = this.#requests.unheard;
      this.#options.client.dropIdle(server);
      return this.#tryNext(server);
    }
    if (error instanceof LineTooLongError || error instanceof RangeError) this.#streamBroken("oversized_lines");
    else if (error instanceof CorruptStreamError) this.#streamBroken("corrupt_lines");
    else this.#counters.resets++;
    return this.#retry.next();
  }

  /** A second consistent read decides, of another server if there is one. Nothing is taken away before. */
  #hold(error: MassDeletionError, server: string): number {
    this.#counters.mass_deletions_held++;
    this.#held = error;
    this.#confirming = true;
    this.#requests.forgetVersion();
    this.#notify("held", server);
    this.#pool.failed(server);
    return this.#relist.next();
  }

  #wentBack(): number {
    this.#counters.versions_went_back++;
    this.#doubtful = false;
    this.#requests.forgetVersion();
    return this.#relist.next();
  }

  #notify(state: MassDeletionNotice["state"], server: string): void {
    if (this.#held === null) return;
    const { missing, of } = this.#held;
    this.#options.watcher?.onMassDeletion?.({ resource: this.#options.resource.path, server, state, missing, of });
  }

  #missed(keys: readonly string[]): void {
    this.#options.watcher?.onMissedEvents?.(this.#options.resource.path, keys);
    this.#requests.interrupt();
  }

  /** Every other server gets its turn before anybody is waited for. */
  #tryNext(server: string): number {
    this.#tried.add(server);
    this.#pool.failed(server);
    if (!this.#tried.has(this.#pool.current)) return 0;
    this.#tried.clear();
    return this.#retry.next();
  }

  /** A version that breaks the stream each time is not gone on from for ever. */
  #streamBroken(counter: "corrupt_lines" | "oversized_lines" | "error_events"): void {
    this.#counters[counter]++;
    if (++this.#streamFailures < MAX_STREAM_FAILURES) return;
    this.#streamFailures = 0;
    this.#requests.forgetVersion();
  }

  #refused(error: StatusError, server: string): number {
    const { status } = error;
    if (error.inStream) this.#streamBroken("error_events");
    else this.#counters.http_errors++;
    if (status === 410) {
      this.#counters.gone++;
      // Only a list that goes on from a page token can be gone without a version.
      if (this.#requests.version === null) this.#unpaged = true;
      this.#requests.forgetVersion();
      return Math.max(this.#relist.next(), error.retryAfterMs ?? 0);
    }
    const request = this.#requests.initial ? "watch-list" : this.#requests.version === null ? "list" : "watch";
    if (this.#abilitiesOf(server).adapt(error, request)) return 0;
    if (NOT_SHOWN.has(status)) this.#refusal = `${this.#options.resource.path}: ${error.message}`;
    const waitMs = this.#retry.next();
    if (status >= 500) this.#pool.failed(server);
    return error.retryAfterMs === null ? waitMs : error.retryAfterMs + Math.min(waitMs, error.retryAfterMs);
  }
}
