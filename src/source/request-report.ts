// SPDX-License-Identifier: Apache-2.0
// What became of each request to the API server, for the metrics: counted when it is answered, measured when the answer
// has ended. A watch is only counted: it lasts as long as it likes.

import type { ClientRequest, IncomingMessage } from "node:http";

export interface RequestReport {
  readonly method: string;
  /** "10.0.0.1:6443". */
  readonly host: string;
  /** HTTP status; null: there was no answer. */
  readonly status: number | null;
  /** Null for a watch, and where there was no answer. Bytes received are those of headers and body. */
  readonly exchange: { readonly seconds: number; readonly sentBytes: number; readonly receivedBytes: number } | null;
}

/** Reports once. */
export function reportRequest(request: ClientRequest, url: URL, report: (report: RequestReport) => void): void {
  const startedMs = performance.now();
  const said = { method: request.method, host: url.host };
  let readBefore = 0;
  let answered = false;
  request.once("socket", (socket) => {
    readBefore = socket.bytesRead;
  });
  request.once("error", () => {
    if (!answered) report({ ...said, status: null, exchange: null });
  });
  request.once("response", (response: IncomingMessage) => {
    answered = true;
    const status = response.statusCode ?? 0;
    if (url.searchParams.get("watch") === "true") {
      report({ ...said, status, exchange: null });
      return;
    }
    const { socket } = response;
    response.once("close", () => {
      const seconds = (performance.now() - startedMs) / 1_000;
      const sentBytes = Number(request.getHeader("Content-Length") ?? 0);
      report({ ...said, status, exchange: { seconds, sentBytes, receivedBytes: socket.bytesRead - readBefore } });
    });
  });
}
