// SPDX-License-Identifier: Apache-2.0
// Times and numbers in Go's forms, of every kind that an answer may hold.

import { afterEach, expect, test } from "vitest";
import { goNumber } from "../../../src/health/go-number.ts";
import { goTime } from "../../../src/health/go-time.ts";

const zone = process.env["TZ"];

afterEach(() => {
  if (zone === undefined) delete process.env["TZ"];
  else process.env["TZ"] = zone;
});

test.for([
  ["UTC", 0, "1970-01-01T00:00:00Z"],
  ["UTC", 1_782_907_200_250, "2026-07-01T12:00:00.25Z"],
  ["UTC", 1_782_907_200_999, "2026-07-01T12:00:00.999Z"],
  ["Europe/Berlin", 1_782_907_200_100, "2026-07-01T14:00:00.1+02:00"],
  ["Europe/Berlin", 1_767_225_599_007, "2026-01-01T00:59:59.007+01:00"],
  ["America/St_Johns", 1_782_907_200_000, "2026-07-01T09:30:00-02:30"],
  ["Asia/Kathmandu", 1_782_907_200_000, "2026-07-01T17:45:00+05:45"],
] as const)("in %s, %i is %s", ([name, ms, text]) => {
  process.env["TZ"] = name;
  expect(goTime(ms)).toBe(text);
  expect(Date.parse(goTime(ms))).toBe(ms);
});

test.for([
  [0, "0"],
  [1, "1"],
  [-3, "-3"],
  [0.25, "0.25"],
  [0.0001, "0.0001"],
  [0.000_012_5, "1.25e-05"],
  [999_999, "999999"],
  [1_000_000, "1e+06"],
  [1_048_576, "1.048576e+06"],
  [1_795_331_940.45, "1.79533194045e+09"],
  [2 ** 64, "1.8446744073709552e+19"],
  [1e-300, "1e-300"],
  [Number.POSITIVE_INFINITY, "+Inf"],
  [Number.NEGATIVE_INFINITY, "-Inf"],
  [Number.NaN, "NaN"],
] as const)("%d is written %s", ([value, text]) => {
  expect(goNumber(value)).toBe(text);
  if (Number.isFinite(value)) expect(Number(goNumber(value))).toBe(value);
});
