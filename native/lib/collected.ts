// SPDX-License-Identifier: Apache-2.0
// A worker thread's callback as a promise.
import type { Done } from "./addon.ts";

/** Rejects with BpfError. */
export function collected(start: (done: Done) => void): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    start((error, bytes) => (bytes === null ? reject(error) : resolve(bytes)));
  });
}
