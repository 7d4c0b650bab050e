// SPDX-License-Identifier: Apache-2.0
// Reads a response's body chunk by chunk: one that falls silent is ended, and no run of chunks holds up the event loop.

import type { IncomingMessage } from "node:http";
import { SilenceError } from "./api-error.ts";
import type { Clock } from "./clock.ts";
import { Slicer } from "./slicer.ts";

export interface BodyReaderOptions {
  readonly clock: Clock;
  /** Longest time without a byte. */
  readonly idleMs: number;
}

/** Feeds every chunk to `onChunk`; the response is closed afterwards, whatever happened. Throws what either throws. */
export async function readBody(
  response: IncomingMessage,
  options: BodyReaderOptions,
  onChunk: (chunk: Buffer, receivedNs: bigint) => void,
): Promise<void> {
  const { clock, idleMs } = options;
  const slicer = new Slicer();
  let heardMs = clock.now();
  let cancel = () => {};
  const watchSilence = (ms: number) => {
    cancel = clock.after(ms, () => {
      const silentMs = clock.now() - heardMs;
      if (silentMs < idleMs) watchSilence(idleMs - silentMs);
      else response.destroy(new SilenceError(`not a byte in ${Math.round(idleMs / 1000)} s`));
    });
  };
  watchSilence(idleMs);
  try {
    await drain(response, (chunk) => {
      heardMs = clock.now();
      onChunk(chunk, process.hrtime.bigint());
      return slicer.due ? slicer.next() : null;
    });
  } finally {
    cancel();
    response.destroy();
  }
}

/**
 * Every chunk in the very turn it came in: an async iterator would add a tick and some promises to each event. While
 * what `take` answers is pending the stream rests.
 */
function drain(response: IncomingMessage, take: (chunk: Buffer) => Promise<void> | null): Promise<void> {
  return new Promise((resolve, reject) => {
    response.on("error", reject);
    response.on("end", resolve);
    response.on("close", () => reject(new Error("closed before its end")));
    response.on("data", (chunk: Buffer) => {
      if (response.destroyed) return;
      try {
        const pause = take(chunk);
        if (pause === null) return;
        response.pause();
        pause.then(() => response.resume(), reject);
      } catch (error) {
        reject(error);
        response.destroy();
      }
    });
  });
}
