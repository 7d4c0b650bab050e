// SPDX-License-Identifier: Apache-2.0
// Wrong usage and bad configuration: everything that is wrong at once, exit status 2 for usage and 1 for a file.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { outcome, portolan } from "./bed.ts";

const dir = mkdtempSync(join(tmpdir(), "portolan-usage-"));
afterAll(() => rmSync(dir, { recursive: true }));

const lines = (text: string): string[] => text.trim().split("\n");

test("every mistake of a command line is listed", async () => {
  const args = ["run", "now", "--verbos", "--replacement=partial", "--source", "etcd", "--cgroup=", "--nod=1"];
  const { code, stderr, stdout } = await outcome([portolan, ...args]);
  // As kube-proxy; other commands end with 2.
  expect(code).toBe(1);
  expect(stdout).toBe("");
  expect(lines(stderr).sort()).toEqual([
    "See: portolan run --help",
    "portolan: --cgroup: must not be empty",
    'portolan: --replacement: must be strict or probe, is "partial"',
    'portolan: --source: must be kubernetes or dir:PATH, is "etcd"',
    'portolan: unexpected argument "now"',
    "portolan: unknown flag --nod",
    "portolan: unknown flag --verbos",
  ]);
});

test.each([
  [[]],
  [["get"]],
  [["get", "pods"]],
  [["dump"]],
  [["dump", "nonsense"]],
  [["dump", "sockets_ovf"]],
  [["flush"]],
  [["status", "-o", "xml"]],
  [["preflight", "--config"]],
  [["config", "convert", "f"]],
  [["config", "mend", "f"]],
  [["config", "check"]],
])("%j is wrong usage", async (args) => {
  const { code, stderr } = await outcome([portolan, ...args]);
  expect(code).toBe(2);
  expect(stderr).toContain(args.length === 0 ? "Usage: portolan" : "See: portolan");
  expect(stderr).not.toContain("    at ");
});

test("a flag without its value ends run with 1", async () => {
  const { code, stderr } = await outcome([portolan, "run", "--config"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("'--config <FILE>' argument missing")]);
});

test("a wrong environment variable is named as such", async () => {
  const { code, stderr } = await outcome([portolan, "status"], {}, { PORTOLAN_RUN_DIR: "" });
  expect([code, lines(stderr)[0]]).toEqual([2, "portolan: PORTOLAN_RUN_DIR: must not be empty"]);
});

test.each(["run", "preflight", "status", "get", "dump", "cleanup", "config", "demo", "version"])(
  "help of %s",
  async (name) => {
    const { code, stdout } = await outcome([portolan, name, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: portolan ${name}`);
  },
);

test("version", async () => {
  const { code, stdout } = await outcome([portolan, "version"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^portolan \d+\.\d+\.\d+, Node\.js v24\.\d+\.\d+, libbpf \d/);
});

test("every problem of a configuration file is listed, and nothing starts", async () => {
  const file = join(dir, "bad.yaml");
  const text =
    "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\nsauce: x\nmapSizes: {units: many}\nreplacement: half\n";
  writeFileSync(file, text);
  const { code, stderr } = await outcome([portolan, "run", "--config", file]);
  expect(code).toBe(1);
  expect(lines(stderr)).toEqual([
    `portolan: ${file}: 3 problems`,
    '  replacement: must be "strict" or "probe", is "half"',
    '  mapSizes.units: must be number, is "many"',
    "  sauce: is not a known key",
  ]);
});

test("a configuration file that is not there is named", async () => {
  const { code, stderr } = await outcome([portolan, "run", "--config", join(dir, "none.yaml")]);
  expect(code).toBe(1);
  expect(stderr).toContain(join(dir, "none.yaml"));
  expect(stderr).not.toContain("    at ");
});

test.each(["version", "preflight", "run --help", "status --run-dir=/nowhere"])(
  "nobody reads what %s prints",
  async (args) => {
    const script = `{ "$0" ${args} 2>"$1"; } | true; cat "$1"`;
    const { stdout } = await outcome(["sh", "-c", script, portolan, join(dir, "stderr")]);
    expect(stdout).toBe("");
  },
);

test("output that cannot be written is a failure in words", async () => {
  const { code, stderr } = await outcome(["sh", "-c", '"$0" version >/dev/full', portolan]);
  expect([code, stderr]).toEqual([1, "portolan: standard output: ENOSPC: no space left on device, write\n"]);
});
