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
    for await (const chunk of response as AsyncIterable<Buffer>) {
      heardMs = clock.now();
      onChunk(chunk, process.hrtime.bigint());
      if (slicer.due) await slicer.next();
    }
  } finally {
    cancel();
    response.destroy();
  }
}
