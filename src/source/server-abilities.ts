// SPDX-License-Identifier: Apache-2.0
// What an API server turned out not to support, learned from how it refuses; asked again after a restart.

import type { StatusError } from "./api-error.ts";

const MAX_UNFINISHED = 2;

export class ServerAbilities {
  #watchList = true;
  #fieldSelector = true;
  /** The status that watch-list was refused with. */
  #refusal = 0;
  /** Watch-lists in a row that never came to the end of their initial events. */
  #unfinished = 0;

  get watchList(): boolean {
    return this.#watchList;
  }

  get fieldSelector(): boolean {
    return this.#fieldSelector;
  }

  /** A watch-list came to the end of its initial events, or broke off before it. */
  watchListEnded(whole: boolean): void {
    this.#unfinished = whole ? 0 : this.#unfinished + 1;
    if (this.#unfinished >= MAX_UNFINISHED) this.#watchList = false;
  }

  /** True if the request, a watch-list, a list or a watch, can be asked in another way that this server may like better. */
  adapt(error: StatusError, request: "watch-list" | "list" | "watch"): boolean {
    const { status, message, inStream } = error;
    if (status === 400 && this.#fieldSelector && /field (label|selector)/i.test(message)) {
      this.#fieldSelector = false;
      return true;
    }
    if (request === "watch-list" && isRefusal(error)) {
      this.#watchList = false;
      this.#refusal = status;
      return true;
    }
    // The list is refused for the same reason: it was not watch-list that the server minded.
    if (request === "list" && this.#refusal === status && !inStream) this.#watchList = true;
    return false;
  }
}

/** The server does not know or allow the request, or (as an event) cannot do it: etcd 3.4 answers code 500. */
function isRefusal(error: StatusError): boolean {
  const { status } = error;
  if (status === 401 || status === 408 || status === 429) return false;
  return status < 500 || (error.inStream && status !== 503 && status !== 504);
}
