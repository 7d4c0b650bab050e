// SPDX-License-Identifier: Apache-2.0
// Which Events are the same thing again? The first is sent whole, the second makes it a series, further ones are only
// counted and told now and then, until there has been silence: client-go's rules for events.k8s.io/v1.

import type { EventText } from "./events.ts";

/** After this much silence the next one is a new Event. */
const OVER_MS = 360_000;
const MOST_KNOWN = 1_024;
/** Of an Event's name, 253 letters: the rest is a dot and the time. */
const MOST_NAME = 236;

const CONTROLLER = "kube-proxy";

export interface EventObject {
  readonly apiVersion: "events.k8s.io/v1";
  readonly kind: "Event";
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly eventTime: string;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly regarding: object;
  readonly type: string;
  readonly reason: string;
  readonly action: string;
  readonly note?: string;
}

/** What to tell the API server: the Event anew, or this part of it. */
export interface SeriesStep {
  readonly event: EventObject;
  readonly patch: { readonly series: { readonly count: number; readonly lastObservedTime: string } } | null;
}

interface Known {
  readonly event: EventObject;
  count: number;
  lastMs: number;
}

export class EventSeries {
  readonly #instance: string;
  readonly #known = new Map<string, Known>();
  #lastName = 0n;

  /** `instance`: "kube-proxy-HOST". */
  constructor(instance: string) {
    this.#instance = instance;
  }

  /** Null: nothing to tell now. */
  step(text: EventText, nowMs: number): SeriesStep | null {
    const { kind, namespace, name } = text.regarding;
    const key = JSON.stringify([text.type, text.action, text.reason, kind, namespace, name]);
    const known = this.#known.get(key);
    if (known === undefined) {
      const event = this.#object(text, nowMs);
      if (this.#known.size === MOST_KNOWN) this.#forgetOldest();
      this.#known.set(key, { event, count: 1, lastMs: nowMs });
      return { event, patch: null };
    }
    known.count++;
    known.lastMs = nowMs;
    return known.count === 2 ? seriesStep(known) : null;
  }

  /** Forgets what is over, having told the last of it; `refresh`: tells of what goes on, too. */
  sweep(nowMs: number, refresh: boolean): SeriesStep[] {
    const steps: SeriesStep[] = [];
    for (const [key, known] of this.#known) {
      const over = nowMs - known.lastMs > OVER_MS;
      if (over) this.#known.delete(key);
      if (known.count > 1 && (over || refresh)) steps.push(seriesStep(known));
    }
    return steps;
  }

  #forgetOldest(): void {
    for (const key of this.#known.keys()) {
      this.#known.delete(key);
      return;
    }
  }

  #object({ regarding, note, type, reason, action }: EventText, nowMs: number): EventObject {
    const { kind, namespace, name, uid } = regarding;
    return {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: {
        name: `${name.slice(0, MOST_NAME).replace(/[-.]+$/, "")}.${this.#suffix(nowMs)}`,
        namespace: namespace || "default",
      },
      eventTime: microTime(nowMs),
      reportingController: CONTROLLER,
      reportingInstance: this.#instance,
      regarding: {
        apiVersion: kind === "EndpointSlice" ? "discovery.k8s.io/v1" : "v1",
        kind,
        name,
        ...(namespace === "" ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
      },
      type,
      reason,
      action,
      ...(note === undefined ? {} : { note }),
    };
  }

  /** Nanoseconds in hexadecimal digits, no two the same. */
  #suffix(nowMs: number): string {
    const now = BigInt(nowMs) * 1_000_000n;
    this.#lastName = now > this.#lastName ? now : this.#lastName + 1n;
    return this.#lastName.toString(16);
  }
}

const seriesStep = ({ event, count, lastMs }: Known): SeriesStep => ({
  event,
  patch: { series: { count, lastObservedTime: microTime(lastMs) } },
});

const microTime = (ms: number): string => new Date(ms).toISOString().replace("Z", "000Z");
