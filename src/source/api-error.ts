// SPDX-License-Identifier: Apache-2.0
// The ways in which an API server fails a request, told apart because each has its own remedy.

/** No answer: refused, reset before the headers, timed out, TLS not verified. Another server may do better. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

/** An answer that is not 200, or an ERROR event, which carries the same Status object in a stream that was 200. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly status: number;
  /** Of the header Retry-After; null if there was none. */
  readonly retryAfterMs: number | null;
  /** It came as an ERROR event. */
  readonly inStream: boolean;

  constructor(status: number, message: string, details: { retryAfterMs: number | null; inStream: boolean }) {
    super(message);
    this.status = status;
    this.retryAfterMs = details.retryAfterMs;
    this.inStream = details.inStream;
  }
}

/** The stream said something that is not the protocol: a line that is no JSON, too long, or cut in the middle. */
export class CorruptStreamError extends Error {
  override readonly name = "CorruptStreamError";
}

/** The server's versions went back: what it tells is out of order, or of another history. Only a relist helps. */
export class WentBackError extends Error {
  override readonly name = "WentBackError";

  constructor(what: string, version: string, before: string) {
    super(`${what} of version ${version} after ${before}`);
  }
}

/** Not a byte for longer than a live server is ever silent. */
export class SilenceError extends Error {
  override readonly name = "SilenceError";
}

/** A relist lacks most of what was known; nothing of that was taken away. */
export class MassDeletionError extends Error {
  override readonly name = "MassDeletionError";
  readonly missing: number;
  readonly of: number;

  constructor(missing: number, of: number) {
    super(`a list lacks ${missing} of ${of} objects: they stay until it is confirmed`);
    this.missing = missing;
    this.of = of;
  }
}

/** The server that is asked is not one of the cluster whose objects are known. */
export class OtherClusterError extends Error {
  override readonly name = "OtherClusterError";
}

/** The request was ended for a relist. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/** How a login is turned away: "Unauthorized" by 401, "Forbidden" by 403. */
export const denialOf = (status: number): string => (status === 401 ? "Unauthorized" : "Forbidden");
