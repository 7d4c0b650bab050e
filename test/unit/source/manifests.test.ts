// SPDX-License-Identifier: Apache-2.0
// A folder of manifests as a source: what is delivered, what is said of broken files, how changes are seen.

import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Node } from "../../../src/model/types.ts";
import { type Clock, systemClock } from "../../../src/source/clock.ts";
import { SourceConfigError } from "../../../src/source/config-error.ts";
import { ManifestSource } from "../../../src/source/manifests.ts";
import { RecordingSink } from "./recording-sink.ts";

let directory: string;
let source: ManifestSource | null = null;
let sink: RecordingSink;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `portolan-manifests-${process.pid}-`));
  sink = new RecordingSink();
});

afterEach(async () => {
  await source?.stop();
  source = null;
  rmSync(directory, { recursive: true, force: true });
});

function service(name: string, clusterIp: string, extra = ""): string {
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  clusterIP: ${clusterIp}
  ports: [{ port: 80 }]
${extra}`;
}

function slice(name: string, addresses: readonly string[]): string {
  return `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${name}
  namespace: shop
  labels: { kubernetes.io/service-name: web }
addressType: IPv4
ports: [{ name: "", port: 8080 }]
endpoints:
${addresses.map((address) => `- addresses: ["${address}"]`).join("\n")}
`;
}

function put(name: string, text: string): void {
  writeFileSync(join(directory, name), text);
}

function start(options: { pollMs?: number } = {}): ManifestSource {
  source = new ManifestSource({ path: directory, settleMs: 10, pollMs: options.pollMs ?? 60_000 });
  source.start(sink);
  return source;
}

const file = (name: string) => `File ${join(directory, name)}`;

test("delivers every object, then says synced for both kinds and complete", async () => {
  put("a.yaml", `${service("web", "10.96.0.1")}---\n${slice("web-1", ["10.0.0.1", "10.0.0.2"])}`);
  put("b.json", JSON.stringify({ apiVersion: "v1", kind: "List", items: [{ apiVersion: "v1", kind: "ConfigMap" }] }));
  put("ignored.txt", "not: [a manifest");
  const status = () => running.status();
  const running = start();
  expect(status()).toMatchObject({ state: "starting", peer: null });
  await sink.until(() => sink.completed);
  expect(sink.log).toEqual([
    "+service shop/web",
    "+slice shop/web-1",
    "synced services",
    "synced endpointslices",
    "complete",
  ]);
  expect(sink.services.get("shop/web")?.clusterIps).toEqual(["10.96.0.1"]);
  expect(sink.slices.get("shop/web-1")?.count).toBe(2);
  expect(status()).toMatchObject({
    state: "synced",
    peer: directory,
    reason: null,
    counters: { files: 2, ignored_objects: 1 },
  });
});

test("a typed list's items need neither kind nor apiVersion", async () => {
  const item = {
    metadata: { name: "web", namespace: "shop" },
    spec: { clusterIP: "10.96.0.1", ports: [{ port: 80 }] },
  };
  put("list.json", JSON.stringify({ apiVersion: "v1", kind: "ServiceList", items: [item] }));
  start();
  await sink.until(() => sink.completed);
  expect([...sink.services.keys()]).toEqual(["shop/web"]);
});

test("a change, a new file and a removed file are seen", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  put("b.yaml", service("api", "10.96.0.2"));
  start();
  await sink.until(() => sink.completed);
  put("a.yaml", service("web", "10.96.0.9"));
  await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.9");
  put("c.yaml", service("new", "10.96.0.3"));
  await sink.until(() => sink.services.has("shop/new"));
  rmSync(join(directory, "b.yaml"));
  await sink.until(() => !sink.services.has("shop/api"));
  expect([...sink.services.keys()].sort()).toEqual(["shop/new", "shop/web"]);
});

test("what did not change is not delivered again", async () => {
  put("a.yaml", `${service("web", "10.96.0.1")}---\n${service("api", "10.96.0.2")}`);
  start();
  await sink.until(() => sink.completed);
  sink.log.length = 0;
  put("a.yaml", `${service("web", "10.96.0.1")}---\n${service("api", "10.96.0.7")}`);
  await sink.until(() => sink.log.length > 0);
  expect(sink.log).toEqual(["+service shop/api"]);
});

test("a file that breaks is named with its line, keeps what it held, and is mended", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  put("b.yaml", service("api", "10.96.0.2"));
  const running = start();
  await sink.until(() => sink.completed);
  put("a.yaml", `${service("web", "10.96.0.1")}---\nkind: [Service\nspec: 1\n`);
  await sink.until(() => sink.problemsOf(file("a.yaml")).length > 0);
  expect(sink.problemsOf(file("a.yaml"))).toMatchObject([{ field: "line 9", reason: expect.stringContaining("]") }]);
  expect(running.status()).toMatchObject({ state: "synced", reason: expect.stringContaining("a.yaml line 9") });
  expect([...sink.services.keys()].sort()).toEqual(["shop/api", "shop/web"]);
  put("a.yaml", service("other", "10.96.0.3"));
  await sink.until(() => sink.services.has("shop/other"));
  expect(sink.problemsOf(file("a.yaml"))).toEqual([]);
  expect(sink.services.has("shop/web")).toBe(false);
});

test("removing a broken file removes what it held", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  start();
  await sink.until(() => sink.completed);
  put("a.yaml", "{");
  await sink.until(() => sink.problemsOf(file("a.yaml")).length > 0);
  rmSync(join(directory, "a.yaml"));
  await sink.until(() => !sink.services.has("shop/web"));
  expect(sink.problemsOf(file("a.yaml"))).toEqual([]);
});

test("a file broken from the start holds back complete, not the others", async () => {
  put("a.yaml", "kind: Service\n");
  put("b.yaml", service("web", "10.96.0.1"));
  start();
  await sink.until(() => sink.syncedKinds.size === 2);
  expect([...sink.services.keys()]).toEqual(["shop/web"]);
  expect(sink.completed).toBe(false);
  expect(sink.problemsOf(file("a.yaml"))).toMatchObject([{ field: "line 1", reason: "apiVersion is missing" }]);
  put("a.yaml", "# nothing\n");
  await sink.until(() => sink.completed);
  expect(sink.log.filter((line) => line.startsWith("synced"))).toHaveLength(2);
});

test("removing the file that was broken from the start completes", async () => {
  put("a.yaml", "[");
  start();
  await sink.until(() => sink.syncedKinds.size === 2);
  rmSync(join(directory, "a.yaml"));
  await sink.until(() => sink.completed);
});

test.each([
  ["yaml: a wrong indent", "a.yaml", "metadata:\n  name: x\n name: y\n", "line 3"],
  ["yaml: the same key twice", "a.yaml", "kind: A\napiVersion: v1\nkind: B\n", "line 3"],
  ["yaml: not an object", "a.yaml", "---\nkind: A\napiVersion: v1\n---\njust text\n", "line 5"],
  ["yaml: an alias bomb", "a.yaml", bomb(), "line 1"],
  ["json: a trailing comma", "a.json", '{\n"a": 1,\n}', "line 3"],
  ["json: a wrong word", "a.json", '{\n"a": tru}', "line 2"],
  ["json: cut short", "a.json", '{\n"a":\n', "line 3"],
  ["no name", "a.yaml", "\napiVersion: v1\nkind: Service\nmetadata: {}\n", "line 2"],
])("%s is a broken file", async (_, name, text, line) => {
  put(name, text);
  start();
  await sink.until(() => sink.problemsOf(file(name)).length > 0);
  expect(sink.problemsOf(file(name))).toMatchObject([{ kind: "File", field: line }]);
  expect(sink.services.size).toBe(0);
});

function bomb(): string {
  const levels = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(", ")}]`);
  return `a0: &a0 [x, x]\n${levels.join("\n")}\nkind: A\napiVersion: v1\n`;
}

test("an object that is refused keeps what it was and is named with the field", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  start();
  await sink.until(() => sink.completed);
  put("a.yaml", service("web", "nonsense"));
  await sink.until(() => sink.problemsOf("Service shop/web").length > 0);
  expect(sink.problemsOf("Service shop/web")).toMatchObject([{ field: "spec.clusterIP" }]);
  expect(sink.services.get("shop/web")?.clusterIps).toEqual(["10.96.0.1"]);
  put("a.yaml", service("web", "10.96.0.5"));
  await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.5");
  expect(sink.problemsOf("Service shop/web")).toEqual([]);
});

test("of two files with one object the first by name has it, and the next takes over", async () => {
  put("b.yaml", service("web", "10.96.0.2"));
  put("a.yaml", service("web", "10.96.0.1"));
  start();
  await sink.until(() => sink.completed);
  expect(sink.services.get("shop/web")?.clusterIps).toEqual(["10.96.0.1"]);
  expect(sink.problemsOf(file("b.yaml"))).toMatchObject([
    { field: "line 1", reason: expect.stringContaining("a.yaml line 1") },
  ]);
  rmSync(join(directory, "a.yaml"));
  await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.2");
  expect(sink.problemsOf(file("b.yaml"))).toEqual([]);
});

test("files renamed into place are never seen half", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  start();
  await sink.until(() => sink.completed);
  for (let i = 2; i < 12; i++) {
    writeFileSync(join(directory, ".a.tmp"), service("web", `10.96.0.${i}`));
    renameSync(join(directory, ".a.tmp"), join(directory, "a.yaml"));
    await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === `10.96.0.${i}`);
  }
  expect(sink.log.filter((line) => line.startsWith("-"))).toEqual([]);
});

test("a slow writer's half file is not believed", async () => {
  const names = Array.from({ length: 12 }, (_, i) => `web-${i}`);
  const documents = (last: number) => names.map((name, i) => `${service(name, `10.96.${last}.${i + 1}`)}---\n`);
  const old = (seconds: number) => utimesSync(join(directory, "a.yaml"), seconds, seconds);
  put("a.yaml", documents(0).join(""));
  old(1);
  source = new ManifestSource({ path: directory, settleMs: 600_000, pollMs: 3 });
  source.start(sink);
  await sink.until(() => sink.completed);
  put("a.yaml", "");
  for (const document of documents(1)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    appendFileSync(join(directory, "a.yaml"), document);
  }
  expect(sink.services.get("shop/web-0")?.clusterIps[0]).toBe("10.96.0.1");
  old(2);
  await sink.until(() => sink.services.get("shop/web-11")?.clusterIps[0] === "10.96.1.12");
  expect(sink.log.filter((line) => line.startsWith("-"))).toEqual([]);
});

test("a ConfigMap volume's update, a swapped symbolic link, is seen", async () => {
  for (const [i, address] of ["10.96.0.1", "10.96.0.2"].entries()) {
    mkdirSync(join(directory, `..v${i}`));
    put(`..v${i}/web.yaml`, service("web", address));
  }
  symlinkSync("..v0", join(directory, "..data"));
  symlinkSync("..data/web.yaml", join(directory, "web.yaml"));
  start();
  await sink.until(() => sink.completed);
  expect(sink.services.get("shop/web")?.clusterIps).toEqual(["10.96.0.1"]);
  symlinkSync("..v1", join(directory, "..data_tmp"));
  renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
  await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.2");
});

test("a link's target outside the folder is polled; a link to nowhere is broken and keeps what it held", async () => {
  const outside = mkdtempSync(join(tmpdir(), `portolan-outside-${process.pid}-`));
  try {
    writeFileSync(join(outside, "web.yaml"), service("web", "10.96.0.1"));
    symlinkSync(join(outside, "web.yaml"), join(directory, "web.yaml"));
    start({ pollMs: 30 });
    await sink.until(() => sink.completed);
    writeFileSync(join(outside, "web.yaml"), service("web", "10.96.0.2"));
    await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.2");
    rmSync(join(outside, "web.yaml"));
    await sink.until(() => sink.problemsOf(file("web.yaml")).length > 0);
    expect(sink.services.has("shop/web")).toBe(true);
  } finally {
    rmSync(outside, { recursive: true, force: true });
  }
});

test("the folder away is no reason to delete; a new folder under its name is watched", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  const running = start({ pollMs: 30 });
  await sink.until(() => sink.completed);
  renameSync(directory, `${directory}-old`);
  await sink.until(() => running.status().state === "disconnected");
  expect(running.status().reason).toContain("does not exist");
  expect(sink.services.has("shop/web")).toBe(true);
  renameSync(`${directory}-old`, directory);
  await sink.until(() => running.status().state === "synced");
  put("a.yaml", service("web", "10.96.0.2"));
  await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.2");
});

test("a folder put in another's place is watched, not only polled", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  const pollMs = 1_000;
  let poll: () => void = () => undefined;
  const clock: Clock = {
    ...systemClock,
    after: (ms, run) => {
      if (ms !== pollMs) return systemClock.after(ms, run);
      poll = run;
      return () => undefined;
    },
  };
  source = new ManifestSource({ path: directory, settleMs: 10, pollMs, clock });
  source.start(sink);
  await sink.until(() => sink.completed);
  renameSync(directory, `${directory}-old`);
  try {
    mkdirSync(directory);
    put("a.yaml", service("web", "10.96.0.2"));
    poll();
    await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.2");
    // From here on nobody polls, and nobody looks because of what was before.
    const scans = () => source?.status().counters["scans"];
    for (let before = -1; before !== scans(); ) {
      before = scans() ?? 0;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    put("a.yaml", service("web", "10.96.0.3"));
    await sink.until(() => sink.services.get("shop/web")?.clusterIps[0] === "10.96.0.3");
  } finally {
    rmSync(`${directory}-old`, { recursive: true, force: true });
  }
});

test("a folder that does not exist is refused at construction, by name", () => {
  expect(() => new ManifestSource({ path: "/nonexistent/portolan" })).toThrow(SourceConfigError);
  expect(() => new ManifestSource({ path: "/nonexistent/portolan" })).toThrow("/nonexistent/portolan: does not exist");
  put("a.yaml", "");
  expect(() => new ManifestSource({ path: join(directory, "a.yaml") })).toThrow("is not a directory");
});

test("after stop nothing is delivered any more", async () => {
  put("a.yaml", service("web", "10.96.0.1"));
  const running = start({ pollMs: 20 });
  await sink.until(() => sink.completed);
  await running.stop();
  const calls = sink.log.length;
  put("a.yaml", service("web", "10.96.0.2"));
  await new Promise((resolve) => setTimeout(resolve, 80));
  expect(sink.log).toHaveLength(calls);
});

test("stop does not wait for the end of a long file", async () => {
  put("long.yaml", Array.from({ length: 20_000 }, (_, i) => service(`s${i}`, "10.0.0.1")).join("---\n"));
  const started = start();
  await new Promise((resolve) => setTimeout(resolve, 100));
  // By the processor's time: to the end it would be seconds.
  const before = process.threadCpuUsage();
  await started.stop();
  const { user, system } = process.threadCpuUsage(before);
  expect(user + system).toBeLessThan(500_000);
  expect(sink.log).toEqual([]);
});

test("our Node and ServiceCIDRs are told from a folder too, as they change", async () => {
  const nodes: (Node | null)[] = [];
  const cidrs: (readonly string[])[] = [];
  const heard = Object.assign(sink, {
    node: (node: Node | null) => nodes.push(node),
    serviceCidrs: (list: readonly string[]) => cidrs.push(list),
  });
  const node = (name: string, zone: string) => `apiVersion: v1
kind: Node
metadata: { name: ${name}, labels: { topology.kubernetes.io/zone: ${zone} } }
`;
  const cidr = (name: string, text: string) => `apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: { name: ${name} }
spec: { cidrs: [${text}] }
`;
  put("node.yaml", `${node("node-a", "east")}---\n${node("node-b", "west")}`);
  put("cidrs.yaml", `${cidr("a", "10.97.0.0/16")}---\n${cidr("b", "10.96.0.0/16")}`);
  source = new ManifestSource({ path: directory, settleMs: 10, pollMs: 60_000, nodeName: "node-a" });
  source.start(heard);
  await sink.until(() => sink.completed);
  put("node.yaml", node("node-a", "north"));
  await sink.until(() => nodes.length === 2);
  put("cidrs.yaml", cidr("a", "10.97.0.0/16"));
  await sink.until(() => cidrs.length === 2);
  rmSync(join(directory, "node.yaml"));
  await sink.until(() => nodes.length === 3);
  expect(nodes.map((object) => object?.zone)).toEqual(["east", "north", undefined]);
  expect(cidrs).toEqual([["10.96.0.0/16", "10.97.0.0/16"], ["10.97.0.0/16"]]);
});

test("a folder's Services of our service-proxy-name", async () => {
  const named = (name: string, ip: string, proxy: string) =>
    service(name, ip).replace(
      "namespace: shop }",
      `namespace: shop, labels: { service.kubernetes.io/service-proxy-name: ${proxy} } }`,
    );
  put(
    "a.yaml",
    `${named("ours", "10.96.0.1", "mesh")}---\n${named("theirs", "10.96.0.2", "other")}---\n${service("plain", "10.96.0.3")}`,
  );
  source = new ManifestSource({ path: directory, settleMs: 10, pollMs: 60_000, serviceProxyName: "mesh" });
  source.start(sink);
  await sink.until(() => sink.completed);
  expect([...sink.services.keys()]).toEqual(["shop/ours"]);
});
