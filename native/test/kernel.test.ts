// SPDX-License-Identifier: Apache-2.0
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { gracePeriod, probe } from "../index.ts";
import { objectPath } from "./compile.ts";
import { failureOf } from "./failure.ts";
import { openFiles, runChild } from "./sandbox.ts";

describe("probes", () => {
  it("tell helpers apart by program type", () => {
    expect(probe.helper("cgroup_sock_addr", "set_retval")).toBe(true);
    expect(probe.helper("cgroup_sock_addr", "get_netns_cookie")).toBe(true);
    expect(probe.helper("cgroup_sock_addr", "skb_change_tail")).toBe(false);
    expect(probe.helper("sched_cls", "skb_change_tail")).toBe(true);
    expect(probe.helper("xdp", "xdp_adjust_head")).toBe(true);
    expect(probe.helper("xdp", "skb_change_tail")).toBe(false);
    expect(() => probe.helper("xdp", "no_such_helper")).toThrow(TypeError);
    expect(() => probe.helper("no_such_type", "set_retval")).toThrow(TypeError);
    expect(failureOf(() => probe.helper("tracing", "set_retval")).operation).toBe("probe helper");
  });

  it("know map and program types", () => {
    for (const type of ["hash", "array", "lru_hash", "lpm_trie", "ringbuf", "sk_storage", "array_of_maps"])
      expect.soft(probe.mapType(type), type).toBe(true);
    for (const type of ["cgroup_sock_addr", "cgroup_sock", "sched_cls", "xdp"])
      expect.soft(probe.programType(type), type).toBe(true);
    expect(() => probe.mapType("no_such_type")).toThrow(TypeError);
    expect(() => probe.programType("no_such_type")).toThrow(TypeError);
  });

  it("know the kernel's BTF and the library's version", () => {
    expect(probe.btf()).toBe(existsSync("/sys/kernel/btf/vmlinux"));
    expect(probe.libbpfVersion()).toMatch(/^1\.\d+$/);
  });

  it("leave nothing behind", () => {
    const before = openFiles();
    for (let i = 0; i < 20; i++) {
      probe.helper("cgroup_sock_addr", "set_retval");
      probe.mapType("ringbuf");
      probe.programType("xdp");
    }
    expect(openFiles()).toBe(before);
  });
});

describe("grace periods", () => {
  it("are waited for beside the event loop", async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    // One takes milliseconds, or far less on a kernel that hurries: as many as it takes, and the loop turns meanwhile.
    for (let i = 0; i < 10_000 && ticks < 5; i++) await gracePeriod();
    clearInterval(timer);
    expect(ticks).toBeGreaterThanOrEqual(5);
  });

  it("leave nothing behind, also when many wait", async () => {
    const before = openFiles();
    await Promise.all(Array.from({ length: 20 }, () => gracePeriod()));
    expect(openFiles()).toBe(before);
  });
});

it("needs no more than CAP_BPF and CAP_NET_ADMIN", () => {
  const before = ["setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all", "--ambient-caps=-all"];
  const seen = runChild<Record<string, unknown>>("two-capabilities", { before, args: [objectPath("test")] });
  expect(seen).toEqual({
    effective: "0000008000001000",
    returnValue: 7,
    batch: 2,
    mapped: "5",
    records: 1,
    grace: true,
    helper: true,
    mapType: true,
    types: { key: "key", value: "value" },
    byId: "EPERM",
    ofMap: "EPERM",
  });
});
