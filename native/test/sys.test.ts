// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sys } from "../index.ts";
import { failureOf } from "./failure.ts";
import { runChild, Sandbox } from "./sandbox.ts";

let sandbox: Sandbox;
beforeAll(() => {
  sandbox = new Sandbox();
});
afterAll(() => sandbox[Symbol.dispose]());

describe("directories and locks", () => {
  it("open and close", () => {
    const fd = sys.openDir(sandbox.dir);
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(sandbox.dir);
    sys.close(fd);
    expect(failureOf(() => sys.close(fd))).toMatchObject({ operation: "close", code: "EBADF" });
    expect(failureOf(() => sys.openDir("/etc/passwd"))).toMatchObject({ operation: "open directory", code: "ENOTDIR" });
    expect(() => sys.close(-1)).toThrow(RangeError);
  });

  it("are held by one, also on bpffs", () => {
    for (const dir of [sandbox.dir, sandbox.pin("")]) {
      const first = sys.openDir(dir);
      const second = sys.openDir(dir);
      expect(sys.flock(first, "exclusive", { nonBlocking: true })).toBe(true);
      expect(sys.flock(second, "exclusive", { nonBlocking: true })).toBe(false);
      expect(sys.flock(second, "shared", { nonBlocking: true })).toBe(false);
      expect(sys.flock(first, "unlock")).toBe(true);
      expect(sys.flock(second, "shared")).toBe(true);
      sys.close(first);
      sys.close(second);
    }
    expect(failureOf(() => sys.flock(2 ** 20, "shared")).code).toBe("EBADF");
    expect(() => sys.flock(1, "wrong" as "shared")).toThrow(TypeError);
  });
});

describe("namespaces", () => {
  it("have a cookie, and a thread can move", () => {
    const own = sys.netnsCookie();
    expect(own).toBeGreaterThan(0n);
    expect(sys.netnsCookie()).toBe(own);
    const path = `/run/netns/${sandbox.netns}`;
    const seen = runChild<{ before: string; after: string; devices: string[] }>("move", { args: [path] });
    expect(seen.before).toBe(String(own));
    expect(seen.after).not.toBe(seen.before);
    expect(seen.devices).toContain("lt0");
  });

  it("refuse what is none", () => {
    expect(failureOf(() => sys.setns("/nonexistent", "net"))).toMatchObject({ operation: "setns", code: "ENOENT" });
    expect(failureOf(() => sys.setns("/etc/passwd", "net")).code).toBe("EINVAL");
    expect(() => sys.setns("/proc/self/ns/net", "pid" as "net")).toThrow(TypeError);
  });

  it("of mounts and cgroups can be entered too", () => {
    sys.setns("/proc/self/ns/cgroup", "cgroup");
    const seen = runChild<{ entered: boolean }>("move-mounts");
    expect(seen).toEqual({ entered: true });
  });
});

describe("mounts", () => {
  it("mount, tell their type, and unmount", () => {
    const target = join(sandbox.dir, "mount");
    mkdirSync(target);
    const below = sys.statfsType(target);
    sys.mount("bpf", target, "bpf", 0, "mode=0700");
    expect(sys.statfsType(target)).toBe(0xcafe4a11);
    expect(execFileSync("stat", ["-c", "%a", target], { encoding: "utf8" }).trim()).toBe("1700");
    sys.umount(target);
    expect(sys.statfsType(target)).toBe(below);
    expect(failureOf(() => sys.umount(target))).toMatchObject({ operation: "umount", code: "EINVAL" });
    expect(failureOf(() => sys.mount("x", target, "nofs", 0, "")).code).toBe("ENODEV");
    expect(failureOf(() => sys.statfsType("/nonexistent")).code).toBe("ENOENT");
  });

  it("know cgroup2", () => {
    expect(sys.statfsType(sandbox.cgroup)).toBe(0x63677270);
  });
});

it("reads socket options", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const [SOL_SOCKET, SO_TYPE, SO_PROTOCOL] = [1, 3, 38];
  expect(sys.getsockopt(fd, SOL_SOCKET, SO_TYPE, 4)).toEqual(new Uint8Array([1, 0, 0, 0]));
  expect(sys.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, 64)).toEqual(new Uint8Array([6, 0, 0, 0]));
  expect(sys.getsockopt(fd, SOL_SOCKET, SO_TYPE, 1)).toEqual(new Uint8Array([1]));
  await new Promise((resolve) => server.close(resolve));
  const file = openSync("/etc/passwd", "r");
  expect(failureOf(() => sys.getsockopt(file, SOL_SOCKET, SO_TYPE, 4)).code).toBe("ENOTSOCK");
  closeSync(file);
  expect(() => sys.getsockopt(fd, SOL_SOCKET, SO_TYPE, 2 ** 20)).toThrow(RangeError);
});

it("reads the monotonic clock", () => {
  const first = sys.clockMonotonicNs();
  const hr = process.hrtime.bigint();
  const second = sys.clockMonotonicNs();
  expect(first <= hr && hr <= second).toBe(true);
});

it("gives freed memory back to the system", () => {
  // Small enough to come from the heap, and every other one stays: nothing is free at the heap's end.
  const kept: Uint8Array[] = [];
  {
    const all = Array.from({ length: 20_000 }, () => new Uint8Array(8_192).fill(1));
    for (const [i, bytes] of all.entries()) {
      if (i % 2 === 0) kept.push(bytes);
      else bytes.buffer.transfer(0);
    }
  }
  // Under the sanitizers malloc is theirs, and the C library's own heap has nothing to give.
  const sanitized = process.env["LIBBPF_TS_PRELOAD"] !== undefined;
  const before = process.memoryUsage.rss();
  expect(sys.mallocTrim()).toBe(!sanitized);
  if (!sanitized) expect(before - process.memoryUsage.rss()).toBeGreaterThan(20 << 20);
  expect(kept.every((bytes) => bytes[4_096] === 1)).toBe(true);
});
