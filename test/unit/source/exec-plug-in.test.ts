// SPDX-License-Identifier: Apache-2.0
// The exec plug-in of a kubeconfig: kept until it expires, asked anew after a failure, never waited for without end, and
// no secret in what is said of it.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Credentials } from "../../../src/source/credentials.ts";
import { ExecPlugIn } from "../../../src/source/exec-plug-in.ts";
import { kubeconfig } from "./objects.ts";

let directory: string;
let answer: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `portolan-exec-${process.pid}-`));
  answer = join(directory, "answer");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const userOf = (script: string) => ({ name: "u", exec: { command: "/bin/sh", args: ["-c", script] } });

const load = (script: string): Promise<Credentials> =>
  Credentials.load(kubeconfig(directory, "https://127.0.0.1:6443", { user: userOf(script) }));

async function failure(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "none",
    (error: unknown) => (error as Error).message,
  );
}

const NEITHER = "exec plug-in: its answer holds neither a token nor a certificate";

test.each([
  ["a token alone", "sha256~very-secret", "exec plug-in: its answer is no JSON"],
  ["no ExecCredential", "{}", NEITHER],
  ["one without a login", '{"status":{}}', NEITHER],
  ["null", "null", NEITHER],
])("%s for an answer: said without it, and the next one counts", async (_, text, expected) => {
  writeFileSync(answer, text);
  const credentials = await load(`cat ${answer}`);
  expect(await failure(credentials.current())).toBe(expected);
  writeFileSync(answer, '{"status":{"token":"good"}}');
  expect((await credentials.current()).headers["Authorization"]).toBe("Bearer good");
});

test("what it says on standard error is told; also if that is nothing", async () => {
  expect(await failure((await load("echo log in first >&2; exit 3")).current())).toBe("exec plug-in: log in first");
  expect(await failure((await load("exit 3")).current())).toBe("exec plug-in: failed");
  const missing = { name: "u", exec: { command: "/nonexistent/plug-in" } };
  expect(await failure(new ExecPlugIn().apply(missing as never, { headers: {} }))).toMatch(/^exec plug-in: .*ENOENT/);
});

test("one that does not answer is ended, whatever its children do", async () => {
  const plugIn = new ExecPlugIn(300);
  const startMs = performance.now();
  expect(await failure(plugIn.apply(userOf("sleep 120 & sleep 120; true") as never, { headers: {} }))).toBe(
    "exec plug-in: no answer in 0.3 s",
  );
  expect(performance.now() - startMs).toBeLessThan(100_000);
});
