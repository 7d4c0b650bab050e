// SPDX-License-Identifier: Apache-2.0
// The byte level of the source: lines and list items out of chunks cut anywhere, and the pace of retries.

import { expect, test } from "vitest";
import { Backoff } from "../../../src/source/backoff.ts";
import { LineSplitter, LineTooLongError } from "../../../src/source/line-splitter.ts";
import { ListScanner } from "../../../src/source/list-scanner.ts";
import { fc } from "../../support/property.ts";
import { ScaledClock } from "./scaled-clock.ts";

/** The bytes in chunks of the sizes given, over and over. */
function* chunks(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 });

test("property: lines are the same however the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary", maxLength: 30 })), sizes, (texts, cut) => {
      const lines = texts.map((text) => text.replaceAll("\n", ""));
      const seen: string[] = [];
      const splitter = new LineSplitter(1000, (line) => seen.push(line.toString()));
      for (const chunk of chunks(Buffer.from(lines.map((line) => `${line}\n`).join("")), cut)) splitter.push(chunk);
      expect(seen).toEqual(lines.filter((line) => line !== "").map((line) => Buffer.from(line).toString()));
      expect(splitter.pending).toBe(0);
    }),
  );
});

test("a line too long is refused before it is whole, and as one chunk", () => {
  const endless = new LineSplitter(100, () => expect.unreachable());
  endless.push(Buffer.alloc(100, 97));
  expect(() => endless.push(Buffer.alloc(1, 97))).toThrow(LineTooLongError);
  expect(() => new LineSplitter(100, () => {}).push(Buffer.from(`${"a".repeat(101)}\n`))).toThrow(LineTooLongError);
  const seen: number[] = [];
  new LineSplitter(100, (line) => seen.push(line.length)).push(Buffer.from(`${"a".repeat(100)}\nb`));
  expect(seen).toEqual([100]);
});

function scan(json: string, cut: readonly number[], maxBytes = 10_000): { items: unknown[]; envelope: unknown } {
  const items: unknown[] = [];
  const scanner = new ListScanner(maxBytes, (item) => items.push(JSON.parse(item.toString())));
  for (const chunk of chunks(Buffer.from(json), cut)) scanner.push(chunk);
  return { items, envelope: JSON.parse(scanner.end().toString()) };
}

const jsonObject = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));

test("property: items and envelope are what JSON.parse finds, however the response is cut", () => {
  fc.assert(
    fc.property(fc.array(jsonObject), jsonObject, jsonObject, sizes, fc.nat(2), (items, before, after, cut, indent) => {
      const { items: _, ...head } = before;
      const list = { ...head, metadata: { items: ["[{"], continue: '\\"{[' }, items };
      const json = JSON.stringify({ ...list, zzz: after }, null, indent);
      const found = scan(json, cut);
      const expected = JSON.parse(json);
      expect(found.items).toEqual(expected.items);
      expect(found.envelope).toEqual({ ...expected, items: [] });
    }),
    { numRuns: 2_000 },
  );
});

test("only the top-level items are items; an object cut short is no list; a huge one is refused", () => {
  expect(scan('{"a":{"items":[{"x":1}]},"b":["items",[{"y":2}]]}', [7]).items).toEqual([]);
  expect(scan('{"items":null}', [3])).toEqual({ items: [], envelope: { items: null } });
  expect(() => scan('{"items":[{"x":1},{"x"', [5])).toThrow(SyntaxError);
  expect(() => scan(`{"items":[{"x":"${"a".repeat(200)}"}]}`, [50], 100)).toThrow(RangeError);
});

test("backoff: at once, then doubling to half a minute and up to eight tenths more, and capped lower on demand", () => {
  const lowest = new Backoff(new ScaledClock(1, () => 0));
  expect(Array.from({ length: 9 }, () => lowest.next())).toEqual([
    0, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000,
  ]);
  const highest = new Backoff(new ScaledClock(1, () => 0.999_999));
  const waits = Array.from({ length: 50 }, () => Math.round(highest.next()));
  expect(waits.slice(0, 3)).toEqual([800, 1440, 2880]);
  expect(Math.max(...waits)).toBe(54_000);
  expect(Math.round(highest.next(5_000))).toBe(9_000);
  const steep = new Backoff(new ScaledClock(1, () => 0), 3);
  expect(Array.from({ length: 5 }, () => steep.next())).toEqual([0, 800, 1600, 30_000, 30_000]);
  lowest.reset();
  expect([lowest.next(), lowest.next()]).toEqual([0, 800]);
});
