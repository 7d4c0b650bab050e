// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { exactly, type Goal, judge, table } from "../../../bench/goals.ts";

const most: Goal = { row: "1", text: "ratio", unit: "×", bound: "most", pass: 1.03, ambitious: 1.015 };
const least: Goal = { row: "5", text: "gain", unit: "×", bound: "least", pass: 10, ambitious: 12 };

describe("judge", () => {
  test("goes by the interval's bad end", () => {
    expect(judge(most, { value: 1.01, low: 1.0, high: 1.014 }).verdict).toBe("ambitious");
    expect(judge(most, { value: 1.01, low: 1.0, high: 1.02 }).verdict).toBe("pass");
    expect(judge(most, { value: 1.01, low: 1.0, high: 1.031 }).verdict).toBe("FAIL");
    expect(judge(least, { value: 13, low: 12, high: 14 }).verdict).toBe("ambitious");
    expect(judge(least, { value: 13, low: 11.9, high: 14 }).verdict).toBe("pass");
    expect(judge(least, { value: 13, low: 9.9, high: 14 }).verdict).toBe("FAIL");
  });

  test("meets a goal of nothing with nothing, and calls what is missing so", () => {
    expect(judge({ ...most, pass: 0, ambitious: 0 }, exactly(0)).verdict).toBe("ambitious");
    expect(judge({ ...most, pass: 0, ambitious: 0 }, exactly(1)).verdict).toBe("FAIL");
    expect(judge(most, null).verdict).toBe("not measured");
  });
});

test("the table shows figure, interval and both bounds", () => {
  const text = table([judge(most, { value: 1.0123, low: 1.0101, high: 1.0144 }), judge(least, null)]);
  expect(text).toContain("1.012 [1.010, 1.014] ×");
  expect(text).toContain("≤ 1.030");
  expect(text).toContain("≥ 12");
  expect(text.split("\n").at(-1)).toContain("not measured");
});
