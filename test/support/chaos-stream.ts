// SPDX-License-Identifier: Apache-2.0
// One watch that a server has open: its lines in order, and what becomes of it when its fault strikes.

import type { ServerResponse } from "node:http";
import { type ApiObject, errorLine } from "./api-server.ts";
import type { Stored } from "./cluster-history.ts";

export const STREAM_FAULTS = [
  "reset",
  "end",
  "half a line, then the end",
  "half a line, then a reset",
  "garbage",
  "an unknown event",
  "silence",
  "a pause",
  "a trickle",
  "expired",
  "an internal error",
  "too many requests",
  "a huge line",
] as const;
export type StreamFault = (typeof STREAM_FAULTS)[number];

export interface WatchStreamOptions {
  readonly resource: Stored;
  readonly response: ServerResponse;
  readonly fault: StreamFault | null;
  /** So many go well before it. */
  readonly linesBefore: number;
  /** Milliseconds on the wall in a second of the agent's clock. */
  readonly second: number;
  /** The server ends it after so many of these. */
  readonly endSec: number;
}

/** 1: a line comes twice · 2: after the one that should follow it · 3: never. */
export type Lie = number;

export class WatchStream {
  /** The version up to which it was told. */
  cursor = 0;
  readonly resource: Stored;
  readonly #options: WatchStreamOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  #left: number;
  /** Nothing is written while this is set, but kept; for ever if it is "for good". */
  #halted: "no" | "for now" | "for good" = "no";
  #kept: string[] = [];
  #late = "";

  constructor(options: WatchStreamOptions) {
    this.#options = options;
    this.resource = options.resource;
    this.#left = options.fault === null ? Number.POSITIVE_INFINITY : options.linesBefore;
    this.#after(options.endSec, () => this.#end());
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#halted = "for good";
  }

  event(type: string, object: ApiObject, lie: Lie): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    if (lie === 3) return;
    if (lie === 2) {
      this.#late = line;
      return;
    }
    this.#line(line);
    if (lie === 1) this.#late = line;
    else if (this.#late !== "") {
      const late = this.#late;
      this.#late = "";
      this.#line(late);
    }
  }

  bookmark(version: number, annotations: Record<string, string> = {}): void {
    const object = { metadata: { resourceVersion: String(version), annotations } };
    this.#line(`${JSON.stringify({ type: "BOOKMARK", object })}\n`);
  }

  error(code: number, message: string): void {
    this.#write(errorLine(code, message));
    this.#end();
  }

  #line(line: string): void {
    if (this.#halted === "for now") this.#kept.push(line);
    else if (this.#left-- > 0) this.#write(line);
    else this.#strike(line);
  }

  #strike(line: string): void {
    const { fault, response } = this.#options;
    this.#left = Number.POSITIVE_INFINITY;
    const half = line.slice(0, line.length >> 1);
    switch (fault) {
      case "reset":
        this.#cut();
        return;
      case "end":
        this.#end();
        return;
      case "half a line, then the end":
        this.#write(half);
        this.#end();
        return;
      case "half a line, then a reset":
        response.write(half, () => this.#cut());
        return;
      case "garbage":
        this.#write(`${half}\n${line}`);
        return;
      case "an unknown event":
        this.#write(`{"type":"SURPRISE","object":{}}\n${line}`);
        return;
      case "silence":
        this.#halted = "for good";
        return;
      case "a pause":
        this.#halt(20, () => this.#write(line));
        return;
      case "a trickle":
        this.#trickle(line);
        return;
      case "expired":
        this.error(410, "The resourceVersion for the provided watch is too old.");
        return;
      case "an internal error":
        this.error(500, "etcdserver: request timed out");
        return;
      case "too many requests":
        this.error(429, "too many requests");
        return;
      case "a huge line":
        this.#write(`{"type":"ADDED","object":{"metadata":{"name":"${"x".repeat(9 << 20)}`);
        return;
      default:
        this.#write(line);
    }
  }

  #trickle(line: string): void {
    const step = Math.ceil(line.length / 8);
    for (let n = 0; n < 8; n++) this.#after(n, () => this.#write(line.slice(n * step, (n + 1) * step)));
    this.#halt(8, () => undefined);
  }

  #halt(seconds: number, then: () => void): void {
    this.#halted = "for now";
    this.#after(seconds, () => {
      this.#halted = "no";
      then();
      for (const line of this.#kept.splice(0)) this.#line(line);
    });
  }

  #after(seconds: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, seconds * this.#options.second);
    this.#timers.add(timer);
  }

  #write(text: string): void {
    if (this.#halted !== "for good" && !this.#options.response.destroyed) this.#options.response.write(text);
  }

  #end(): void {
    this.#halted = "for good";
    if (!this.#options.response.destroyed) this.#options.response.end();
  }

  #cut(): void {
    // TLS or not, what was written may be on its way still.
    this.#options.response.socket?.destroy();
  }
}
