// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { BpfError, BpfMap } from "../index.ts";
import { failureOf } from "./failure.ts";
import { runChild } from "./sandbox.ts";

it("is an Error with the errno, its name and its meaning", () => {
  const error = new BpfError({ operation: "map set", errno: 28, code: "ENOSPC" });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: "BpfError",
    operation: "map set",
    errno: 28,
    code: "ENOSPC",
    log: null,
    count: null,
  });
  expect(error.message).toBe("map set: ENOSPC, no space left on device");
});

it("shows the verdict of a verifier's log", () => {
  const log =
    "0: R1=ctx()\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n-- END PROG LOAD LOG --\nfailed to load object";
  expect(new BpfError({ operation: "load", errno: 13, code: "EACCES", log }).message).toBe(
    "load: EACCES, permission denied (R0 !read_ok)",
  );
});

it("names what the kernel has and errno.h has not", () => {
  expect(new BpfError({ operation: "x", errno: 524, code: "ENOTSUPP" }).message).toBe("x: ENOTSUPP");
});

it("comes with the caller's stack", () => {
  expect(failureOf(() => BpfMap.open("/nonexistent")).stack).toContain("error.test.ts");
});

it("is never printed by libbpf", () => {
  expect(runChild<{ stderr: string }>("silent")).toEqual({ stderr: "" });
});
