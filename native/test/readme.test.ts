// SPDX-License-Identifier: Apache-2.0
// The README's example, as it stands there, compiled and run.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { nodeCommand, Sandbox, startChild } from "./sandbox.ts";

// Inside the package, so that "libbpf-ts" is the package itself as it is built.
const directory = fileURLToPath(new URL(".output/readme/", import.meta.url));

function block(language: string): string {
  const text = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const found = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "ms").exec(text)?.[1];
  if (found === undefined) throw new Error(`the README has no ${language} example`);
  return found;
}

it("does what it says", async () => {
  using sandbox = new Sandbox();
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}ports.bpf.c`, block("c"));
  writeFileSync(`${directory}ports.ts`, block("ts"));
  const multiarch = execFileSync("gcc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  const flags = ["-g", "-O2", "-target", "bpf", `-I/usr/include/${multiarch}`];
  execFileSync("clang-19", [...flags, "-c", `${directory}ports.bpf.c`, "-o", `${directory}ports.bpf.o`]);

  const server = createServer((socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const child = startChild("connect-loop");
  await once(child, "message");
  writeFileSync(`${sandbox.cgroup}/cgroup.procs`, String(child.pid));
  child.send("start");
  const [node = "", ...path] = nodeCommand(`${directory}ports.ts`);
  const example = spawn(node, [...path, `${directory}ports.bpf.o`, sandbox.cgroup, "3"]);
  let output = "";
  let problems = "";
  example.stdout.on("data", (data) => (output += data));
  example.stderr.on("data", (data) => (problems += data));
  const [code] = await once(example, "close");
  const gone = once(child, "exit");
  child.disconnect();
  await gone;
  server.close();

  expect(problems).toBe("");
  expect(code).toBe(0);
  expect(output).toMatch(/^\d+ instructions verified\nport \d{4,5}: [1-9]\d*\n$/);
});
