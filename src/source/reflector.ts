// SPDX-License-Identifier: Apache-2.0
// Keeps one kind of object in step with the API server, for ever: decides after each request what to ask next, of which
// server and when. Watch-list where the server can, pages and a watch where it cannot; resume from the last version
// heard; relist when that is gone; and a measured pace when nothing works.

import type { ApiClient } from "./api-client.ts";
import { CorruptStreamError, SilenceError, StatusError, UnreachableError } from "./api-error.ts";
import { Backoff } from "./backoff.ts";
import { type Clock, sleep } from "./clock.ts";
import { LineTooLongError } from "./line-splitter.ts";
import { ListWatch, type Resource } from "./list-watch.ts";
import type { ServerPool } from "./servers.ts";

export interface ReflectorOptions<T> {
  readonly resource: Resource<T>;
  readonly client: ApiClient;
  readonly pool: ServerPool;
  readonly clock: Clock;
}

export interface ReflectorStatus {
  readonly synced: boolean;
  /** The last request was answered and did not fail since. */
  readonly connected: boolean;
  /** Why not; null if connected. */
  readonly reason: string | null;
  /** The server that answered last; null before the first answer. */
  readonly server: string | null;
  readonly lastHeardNs: bigint;
  readonly counters: Readonly<Record<string, number>>;
}

/** What a server turned out not to support; asked again after a restart. */
interface Abilities {
  watchList: boolean;
  /** The status that watch-list was refused with. */
  refusal: number;
  fieldSelector: boolean;
  /** Watch-lists in a row that never came to the end of their initial events. */
  unfinished: number;
}

/** Relists at least this far apart are no storm. */
const CALM_MS = 120_000;
/** A server that ends watches cleanly at once is not overloaded: events must not wait long for the next one. */
const CLEAN_END_MAX_MS = 5_000;
const SAFETY_RELIST_MS = 3_600_000;
const MAX_STREAM_FAILURES = 3;
const MAX_UNFINISHED = 2;

export class Reflector<T> {
  readonly #pool: ServerPool;
  readonly #client: ApiClient;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  readonly #requests: ListWatch<T>;
  readonly #retry: Backoff;
  readonly #relist: Backoff;
  readonly #abilities = new Map<string, Abilities>();
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
  };
  #running: Promise<void> | null = null;
  #connected = false;
  #reason: string | null = null;
  #server: string | null = null;
  #lastRelistMs = Number.NEGATIVE_INFINITY;
  #safetyRelistMs = 0;
  /** The page token expired on the way: the next list is asked for in one response. */
  #unpaged = false;
  /** Streams in a row that broke their own protocol. */
  #streamFailures = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#pool = options.pool;
    this.#client = options.client;
    this.#clock = options.clock;
    this.#retry = new Backoff(options.clock);
    this.#relist = new Backoff(options.clock);
    this.#requests = new ListWatch({
      ...options,
      signal: this.#abort.signal,
      onOpen: (server) => this.#opened(server),
    });
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing will be delivered any more. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  status(): ReflectorStatus {
    return {
      synced: this.#requests.synced,
      connected: this.#connected,
      reason: this.#connected ? null : this.#reason,
      server: this.#server,
      lastHeardNs: this.#requests.lastHeardNs,
      counters: { ...this.#requests.counters, ...this.#requests.objects.counters, ...this.#counters },
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
    const target = { server, fieldSelector: abilities.fieldSelector };
    if (this.#requests.version !== null) await this.#requests.watch(target);
    else {
      this.#beginRelist();
      if (!abilities.watchList) {
        await this.#requests.list(target, !this.#unpaged);
        this.#unpaged = false;
        return 0;
      }
      await this.#requests.watchList(target);
      abilities.unfinished = 0;
    }
    this.#streamFailures = 0;
    if (this.#clock.now() >= this.#safetyRelistMs) this.#requests.forgetVersion();
    if (this.#requests.healthy) this.#retry.reset();
    return this.#requests.livedLong ? 0 : this.#retry.next(CLEAN_END_MAX_MS);
  }

  #beginRelist(): void {
    const now = this.#clock.now();
    if (now - this.#lastRelistMs > CALM_MS) this.#relist.reset();
    this.#lastRelistMs = now;
    this.#safetyRelistMs = now + SAFETY_RELIST_MS * (0.5 + this.#clock.random());
  }

  #opened(server: string): void {
    this.#server = server;
    this.#connected = true;
    this.#tried.clear();
  }

  #abilitiesOf(server: string): Abilities {
    let abilities = this.#abilities.get(server);
    if (abilities === undefined) {
      abilities = { watchList: true, refusal: 0, fieldSelector: true, unfinished: 0 };
      this.#abilities.set(server, abilities);
    }
    return abilities;
  }

  /** Counts the failure, remembers what it says of the server; answers how long to wait. */
  #failed(error: unknown, server: string): number {
    this.#connected = false;
    this.#reason = `${server}: ${error instanceof Error ? error.message : String(error)}`;
    if (this.#requests.healthy) {
      this.#retry.reset();
      this.#streamFailures = 0;
    }
    if (error instanceof StatusError) return this.#refused(error, server);
    if (error instanceof UnreachableError) {
      this.#counters.unreachable++;
      return this.#tryNext(server);
    }
    if (this.#requests.initial) this.#unfinished(server);
    if (error instanceof SilenceError) {
      this.#counters.idle_timeouts++;
      this.#client.dropIdle(server);
      return this.#tryNext(server);
    }
    if (error instanceof LineTooLongError || error instanceof RangeError) this.#streamBroken("oversized_lines");
    else if (error instanceof CorruptStreamError) this.#streamBroken("corrupt_lines");
    else this.#counters.resets++;
    return this.#retry.next();
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

  #unfinished(server: string): void {
    const abilities = this.#abilitiesOf(server);
    if (++abilities.unfinished >= MAX_UNFINISHED) abilities.watchList = false;
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
    if (this.#adapt(error, server)) return 0;
    const waitMs = this.#retry.next();
    if (status >= 500) this.#pool.failed(server);
    return error.retryAfterMs === null ? waitMs : error.retryAfterMs + Math.min(waitMs, error.retryAfterMs);
  }

  /** True if the request can be asked in another way that this server may like better. */
  #adapt(error: StatusError, server: string): boolean {
    const abilities = this.#abilitiesOf(server);
    if (error.status === 400 && abilities.fieldSelector && /field (label|selector)/i.test(error.message)) {
      abilities.fieldSelector = false;
      return true;
    }
    if (this.#requests.initial && abilities.watchList && isRefusal(error)) {
      abilities.watchList = false;
      abilities.refusal = error.status;
      return true;
    }
    // The list is refused for the same reason: it was not watch-list that the server minded.
    if (
      this.#requests.version === null &&
      !abilities.watchList &&
      abilities.refusal === error.status &&
      !error.inStream
    ) {
      abilities.watchList = true;
    }
    return false;
  }
}

/** The server does not know or allow the request, or (as an event) cannot do it: etcd 3.4 answers code 500. */
function isRefusal(error: StatusError): boolean {
  const { status } = error;
  if (status === 401 || status === 408 || status === 429) return false;
  return status < 500 || (error.inStream && status !== 503 && status !== 504);
}
