// SPDX-License-Identifier: Apache-2.0
// A list response → its items one at a time, without ever holding the page as one string: 500 full slices are 17 MB of
// JSON, and parsing them at once would hold up the event loop for longer than a whole watch-list does.

const QUOTE = 0x22;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** What stands around the items: kind, metadata and their like. */
const MAX_ENVELOPE_BYTES = 1 << 20;
/** Enough of a key to tell "items" from any other. */
const MAX_KEY = 8;

type Part = "envelope" | "item" | "gap";

export class ListScanner {
  readonly #maxItemBytes: number;
  readonly #onItem: (json: Buffer) => void;
  #part: Part = "envelope";
  #item: Buffer[] = [];
  #itemBytes = 0;
  readonly #envelope: Buffer[] = [];
  #envelopeBytes = 0;
  #depth = 0;
  #inItems = false;
  #inString = false;
  /** The last byte of the chunk before was a backslash that counts. */
  #escaped = false;
  /** Beginning of the last string at depth 1, and of the last key there. */
  #text = "";
  #key = "";

  /** `onItem` gets each object in the top-level "items", valid only during the call. */
  constructor(maxItemBytes: number, onItem: (json: Buffer) => void) {
    this.#maxItemBytes = maxItemBytes;
    this.#onItem = onItem;
  }

  /** Throws RangeError past a size limit, and whatever `onItem` throws. */
  push(chunk: Buffer): void {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      if (this.#inString) i = this.#skipString(chunk, i);
      else start = this.#step(chunk, i, start);
    }
    this.#keep(chunk.subarray(start));
  }

  /** All that is not an item, as JSON with an empty "items": no valid JSON if the response was cut short. */
  end(): Buffer {
    return Buffer.concat(this.#envelope);
  }

  /** One byte outside strings; answers where the part it belongs to began in this chunk. */
  #step(chunk: Buffer, i: number, start: number): number {
    switch (chunk[i]) {
      case QUOTE:
        this.#inString = true;
        this.#text = "";
        return start;
      case COLON:
        if (this.#depth === 1) this.#key = this.#text;
        return start;
      case OPEN_BRACE:
        return this.#depth++ === 2 && this.#inItems ? this.#turn("item", chunk, start, i) : start;
      case OPEN_BRACKET:
        if (this.#depth++ !== 1 || this.#key !== "items") return start;
        this.#inItems = true;
        return this.#turn("gap", chunk, start, i + 1);
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        return this.#close(chunk, i, start);
      default:
        return start;
    }
  }

  #close(chunk: Buffer, i: number, start: number): number {
    this.#depth--;
    if (!this.#inItems) return start;
    if (this.#depth === 1) {
      this.#inItems = false;
      return this.#turn("envelope", chunk, start, i);
    }
    if (this.#depth !== 2 || this.#part !== "item") return start;
    const next = this.#turn("gap", chunk, start, i + 1);
    const json = this.#item.length === 1 && this.#item[0] !== undefined ? this.#item[0] : Buffer.concat(this.#item);
    this.#item = [];
    this.#itemBytes = 0;
    this.#onItem(json);
    return next;
  }

  /** Ends the present part before `at` and begins another there. */
  #turn(part: Part, chunk: Buffer, start: number, at: number): number {
    this.#keep(chunk.subarray(start, at));
    this.#part = part;
    return at;
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0 || this.#part === "gap") return;
    if (this.#part === "item") {
      this.#itemBytes += piece.length;
      if (this.#itemBytes > this.#maxItemBytes)
        throw new RangeError(`an object of more than ${this.#maxItemBytes} bytes`);
      this.#item.push(piece);
    } else {
      this.#envelopeBytes += piece.length;
      if (this.#envelopeBytes > MAX_ENVELOPE_BYTES) throw new RangeError("a list with too much around its items");
      this.#envelope.push(piece);
    }
  }

  /** From inside a string to its closing quote; answers the index of that, or of the chunk's last byte. */
  #skipString(chunk: Buffer, from: number): number {
    let at = this.#escaped ? from + 1 : from;
    this.#escaped = false;
    for (;;) {
      const quote = chunk.indexOf(QUOTE, at);
      const end = quote < 0 ? chunk.length : quote;
      let slashes = 0;
      while (end - slashes > at && chunk[end - slashes - 1] === BACKSLASH) slashes++;
      const odd = slashes % 2 === 1;
      if (quote >= 0 && odd) {
        at = quote + 1;
        continue;
      }
      if (this.#depth === 1) this.#text += chunk.toString("latin1", from, Math.min(end, from + MAX_KEY));
      if (quote < 0) this.#escaped = odd;
      else this.#inString = false;
      return end;
    }
  }
}
