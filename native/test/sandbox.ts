// SPDX-License-Identifier: Apache-2.0
// A place of its own for a test file: a bpffs, a cgroup and a network namespace, all removed at the end.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sys } from "../index.ts";

const MNT_DETACH = 2;

function cgroup2Mount(): string {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const line = mounts.find((entry) => entry.includes(" - cgroup2 "));
  if (line === undefined) throw new Error("no cgroup2 mount");
  return line.split(" ")[4] ?? "";
}

function mountsBelow(dir: string): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return mounts.map((entry) => entry.split(" ")[4] ?? "").filter((target) => target.startsWith(`${dir}/`));
}

export class Sandbox implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), `libbpf-ts-${process.pid}-`));
  #bpffs: string | null = null;
  #cgroup: string | null = null;
  #netns: string | null = null;

  /** A path on a bpffs of this sandbox. */
  pin(name: string): string {
    if (this.#bpffs === null) {
      this.#bpffs = join(this.dir, "bpf");
      mkdirSync(this.#bpffs);
      sys.mount("bpf", this.#bpffs, "bpf", 0, "mode=0700");
    }
    return join(this.#bpffs, name);
  }

  get cgroup(): string {
    if (this.#cgroup === null) {
      this.#cgroup = join(cgroup2Mount(), `libbpf-ts-${process.pid}`);
      mkdirSync(this.#cgroup);
    }
    return this.#cgroup;
  }

  /** A namespace with lo up and a veth pair lt0, lt1. */
  get netns(): string {
    if (this.#netns === null) {
      this.#netns = `libbpf-ts-${process.pid}`;
      execFileSync("ip", ["netns", "add", this.#netns]);
      const inside = ["-n", this.#netns, "link"];
      execFileSync("ip", [...inside, "set", "lo", "up"]);
      execFileSync("ip", [...inside, "add", "lt0", "type", "veth", "peer", "name", "lt1"]);
      for (const device of ["lt0", "lt1"]) execFileSync("ip", [...inside, "set", device, "up"]);
    }
    return this.#netns;
  }

  [Symbol.dispose](): void {
    for (const target of mountsBelow(this.dir)) sys.umount(target, MNT_DETACH);
    if (this.#netns !== null) execFileSync("ip", ["netns", "delete", this.#netns]);
    if (this.#cgroup !== null) removeCgroup(this.#cgroup);
    rmSync(this.dir, { recursive: true });
  }
}

export function childPath(name: string): string {
  return fileURLToPath(new URL(`./children/${name}.ts`, import.meta.url));
}

/** How to start Node.js on a file, under the sanitizer if there is one (see preload.ts). */
export function nodeCommand(path: string, flags: string[] = []): string[] {
  const preloaded = process.env["LIBBPF_TS_PRELOAD"];
  const environment = preloaded === undefined ? [] : ["env", `LD_PRELOAD=${preloaded}`];
  const preload = fileURLToPath(new URL("./preload.ts", import.meta.url));
  return [...environment, process.execPath, "--import", preload, ...flags, path];
}

/** What a child program prints, parsed as JSON. before: a command that runs it ("ip netns exec NAME"). */
export function runChild<T>(name: string, options: { args?: string[]; flags?: string[]; before?: string[] } = {}): T {
  const { args = [], flags = [], before = [] } = options;
  const [file = "", ...rest] = [...before, ...nodeCommand(childPath(name), flags), ...args];
  return JSON.parse(execFileSync(file, rest, { encoding: "utf8", timeout: 590_000 })) as T;
}

/** Starts a child program that talks through an IPC channel. */
export function startChild(name: string, args: string[] = []): ChildProcess {
  const [file = "", ...rest] = [...nodeCommand(childPath(name)), ...args];
  return spawn(file, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

/** It is busy for a moment after its last process has gone. */
function removeCgroup(dir: string): void {
  for (let left = 100; existsSync(dir); left--) {
    try {
      rmdirSync(dir);
    } catch (error) {
      if (left === 0) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }
}

export function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

export function u32(...numbers: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(numbers).buffer);
}

export function u64(...numbers: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(numbers).buffer);
}
