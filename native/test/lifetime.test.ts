// SPDX-License-Identifier: Apache-2.0
// Descriptors are closed by hand, by garbage collection and at the end of a thread, and none is lost.
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { objectPath } from "./compile.ts";
import { childPath, runChild, Sandbox } from "./sandbox.ts";

const ROUNDS = 10_000;

it(`loses no descriptor in ${ROUNDS} rounds of opening and closing`, { timeout: 600_000 }, () => {
  using sandbox = new Sandbox();
  sandbox.pin("any"); // mounts
  const args = [objectPath("test"), sandbox.pin(""), sandbox.cgroup, String(ROUNDS)];
  const seen = runChild<{ before: number; after: number; kinds: Record<string, number> }>("open-close", { args });
  expect(seen.kinds).toEqual({ map: ROUNDS, object: ROUNDS, link: ROUNDS, program: ROUNDS, failure: ROUNDS });
  expect(seen.after).toBe(seen.before);
});

it("closes what garbage collection finds", () => {
  const args = [objectPath("test")];
  const seen = runChild<Record<string, number>>("collect", { args, flags: ["--expose-gc"] });
  expect(seen["opened"]).toBeGreaterThan((seen["before"] ?? 0) + 150);
  expect(seen["after"]).toBe(seen["before"]);
  expect(seen["mappings"]).toBe(0);
});

it("keeps a mapping alive while only its buffer is", () => {
  const seen = runChild<{ value: string; mapped: number; after: number }>("collect-buffer", { flags: ["--expose-gc"] });
  expect(seen).toEqual({ value: "42", mapped: 1, after: 0 });
});

for (const how of ["exit", "terminate", "return"]) {
  it(`survives a thread's ${how} with everything open and a grace period pending`, async () => {
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(childPath("busy-thread"), { workerData: { path: objectPath("test"), how } });
      const ended = new Promise<number>((resolve, reject) => {
        worker.once("error", reject);
        worker.once("exit", resolve);
      });
      await new Promise((resolve) => worker.once("message", resolve));
      if (how === "terminate") await worker.terminate();
      expect(await ended).toBe(how === "terminate" ? 1 : 0);
    }
  });
}

it("does not keep the process alive by what is closed or unreferenced", () => {
  expect(runChild<string>("unreferenced", { args: [objectPath("test")] })).toBe("end");
});
