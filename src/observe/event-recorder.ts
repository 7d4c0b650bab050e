// SPDX-License-Identifier: Apache-2.0
// Sends Events to the API server (events.k8s.io/v1), one after the other and at a measured pace. Told and forgotten:
// nobody waits for them, and an API server that does not want them is left alone.

import { EventSeries, type SeriesStep } from "./event-series.ts";
import type { EventSink, EventText } from "./events.ts";

/** How the API server is written to. Resolves to the answer's status; rejects if there was none. */
export type Write = (method: "POST" | "PATCH", path: string, body: object) => Promise<number>;

export interface EventCounters {
  /** Taken by the API server. */
  readonly sent: number;
  /** Refused by it: no second try. */
  readonly refused: number;
  /** Not sent: too many waited, or the API server was away for too long. */
  readonly dropped: number;
}

const MOST_WAITING = 256;
/** kube-proxy's client sends five requests a second. */
const PACE_MS = 200;
const RETRY_MS = 10_000;
const MOST_TRIES = 12;
/** How often series are looked through: repeats are told, what is over is forgotten. */
const SWEEP_MS = 360_000;
/** The API server keeps an Event for an hour: one that goes on is told again in time. */
const REFRESH_SWEEPS = 5;
const MOST_NOTE_BYTES = 1_024;

const API = "/apis/events.k8s.io/v1/namespaces";

export interface EventRecorderOptions {
  readonly write: Write;
  /** The host's name: not the Node's, which may be called otherwise. */
  readonly host: string;
  readonly paceMs?: number;
  readonly retryMs?: number;
}

export class EventRecorder implements EventSink {
  readonly #options: EventRecorderOptions;
  readonly #series: EventSeries;
  readonly #queue: SeriesStep[] = [];
  readonly #sweep: NodeJS.Timeout;
  readonly #counters = { sent: 0, refused: 0, dropped: 0 };
  #sweeps = 0;
  #sending = false;
  #wake: (() => void) | null = null;
  #closed = false;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#series = new EventSeries(`kube-proxy-${options.host}`);
    this.#sweep = setInterval(() => this.#sweepSeries(), SWEEP_MS).unref();
  }

  event(event: EventText): void {
    const note = event.note === undefined ? {} : { note: cut(event.note, MOST_NOTE_BYTES) };
    const step = this.#series.step({ ...event, ...note }, Date.now());
    if (step !== null) this.#enqueue(step);
  }

  get counters(): EventCounters {
    return this.#counters;
  }

  /** What waits is lost. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#sweep);
    this.#queue.length = 0;
    this.#wake?.();
  }

  #sweepSeries(): void {
    for (const step of this.#series.sweep(Date.now(), ++this.#sweeps % REFRESH_SWEEPS === 0)) this.#enqueue(step);
  }

  #enqueue(step: SeriesStep): void {
    if (this.#closed || this.#queue.length === MOST_WAITING) this.#counters.dropped++;
    else this.#queue.push(step);
    if (!this.#sending) void this.#send();
  }

  async #send(): Promise<void> {
    this.#sending = true;
    for (let step = this.#queue.shift(); step !== undefined; step = this.#queue.shift()) {
      await this.#deliver(step);
      await this.#pause(this.#options.paceMs ?? PACE_MS);
    }
    this.#sending = false;
  }

  /** Away: again after a while. Refused: not again. */
  async #deliver(step: SeriesStep): Promise<void> {
    for (let tries = 1; !this.#closed; tries++) {
      const status = await this.#write(step);
      if (status !== null && status < 500 && status !== 429) {
        // 409: an answer to an earlier try was lost.
        if (status < 300 || status === 409) this.#counters.sent++;
        else this.#counters.refused++;
        return;
      }
      if (tries === MOST_TRIES) break;
      await this.#pause(this.#options.retryMs ?? RETRY_MS);
    }
    this.#counters.dropped++;
  }

  /** A series whose Event the API server has forgotten begins anew. Null: no answer. */
  async #write({ event, patch }: SeriesStep): Promise<number | null> {
    const { namespace, name } = event.metadata;
    const path = `${API}/${namespace}/events`;
    try {
      if (patch === null) return await this.#options.write("POST", path, event);
      const status = await this.#options.write("PATCH", `${path}/${name}`, patch);
      return status === 404 ? await this.#options.write("POST", path, { ...event, ...patch }) : status;
    } catch {
      return null;
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** So much of it as fits into so many bytes of UTF-8. */
function cut(text: string, bytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
