// SPDX-License-Identifier: Apache-2.0
// A byte stream → its lines. A line within one chunk is a view of it; only a line across chunks is copied, once.

const NEWLINE = 0x0a;

export class LineTooLongError extends Error {
  override readonly name = "LineTooLongError";
}

export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onLine: (line: Buffer) => void;
  #pieces: Buffer[] = [];
  #pending = 0;

  /** `onLine` gets each line without its newline, valid only during the call; empty lines are left out. */
  constructor(maxBytes: number, onLine: (line: Buffer) => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
  }

  /** Throws LineTooLongError as soon as a line is, before more of it is kept; and whatever `onLine` throws. */
  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const piece = chunk.subarray(start, end);
      start = end + 1;
      const line = this.#pending === 0 ? piece : this.#join(piece);
      if (line.length > this.#maxBytes) this.#refuse(line.length);
      if (line.length > 0) this.#onLine(line);
    }
    if (start === chunk.length) return;
    this.#pending += chunk.length - start;
    if (this.#pending > this.#maxBytes) this.#refuse(this.#pending);
    this.#pieces.push(chunk.subarray(start));
  }

  /** Bytes of a line that has not ended. */
  get pending(): number {
    return this.#pending;
  }

  #join(last: Buffer): Buffer {
    this.#pieces.push(last);
    const line = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pending = 0;
    return line;
  }

  #refuse(bytes: number): never {
    this.#pieces = [];
    this.#pending = 0;
    throw new LineTooLongError(`a line of more than ${this.#maxBytes} bytes (${bytes} so far)`);
  }
}
