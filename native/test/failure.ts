// SPDX-License-Identifier: Apache-2.0
// What a call throws.
import { expect } from "vitest";
import { BpfError } from "../index.ts";

/** The BpfError that the call throws; fails if it throws something else or nothing. */
export function failureOf(call: () => unknown): BpfError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("nothing was thrown");
}

/** Every one of these calls must throw EBADF. */
export function expectClosed(calls: Record<string, () => unknown>): void {
  for (const [name, call] of Object.entries(calls)) {
    expect.soft(failureOf(call).code, name).toBe("EBADF");
  }
}
