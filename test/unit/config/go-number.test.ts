// SPDX-License-Identifier: Apache-2.0

import { expect, test } from "vitest";
import { float32, goFloat, goInteger } from "../../../src/config/go-number.ts";

test.each([
  ["0", 0],
  ["-0", 0],
  ["+5", 5],
  ["-42", -42],
  ["0x1F", 31],
  ["-0b11", -3],
  ["0o17", 15],
  ["017", 15],
  ["1_000", 1000],
  ["0x_1", 1],
  ["0_7", 7],
  ["08", null],
  ["1__0", null],
  ["_1", null],
  ["1_", null],
  ["5.0", null],
  ["", null],
  [" 5", null],
])("whole number %j", (text, value) => {
  expect(goInteger(text)).toBe(value);
});

test.each([
  ["5", 5],
  ["-0.0", 0],
  ["5.", 5],
  [".5", 0.5],
  ["1e3", 1000],
  ["1_0.5", 10.5],
  ["1e400", null],
  [".", null],
  [".e3", null],
  ["1.e", null],
  ["inf", null],
  ["", null],
])("fraction %j", (text, value) => {
  expect(goFloat(text)).toBe(value);
});

test("32 bits keep what they can, in as few digits as tell it", () => {
  expect([0.1, 2.5, 16_777_217, 123_456_789.125, 0.30000001].map(float32)).toEqual([
    0.1, 2.5, 16_777_216, 123_456_790, 0.3,
  ]);
  expect(float32(3.5e38)).toBe(null);
  expect(float32(Number.NaN)).toBe(null);
});
