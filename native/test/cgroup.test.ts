// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { BpfLink, BpfObject, type BpfProgram, queryCgroup } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { Sandbox, startChild } from "./sandbox.ts";

const CONNECT4 = "cgroup_inet4_connect";

let sandbox: Sandbox;
let object: BpfObject;
let allow: BpfProgram;
let refuse: BpfProgram;
let links: BpfLink[] = [];

function attach(program: BpfProgram): BpfLink {
  const link = program.attachCgroup(sandbox.cgroup, CONNECT4);
  links.push(link);
  return link;
}

function attached(): number[] {
  return queryCgroup(sandbox.cgroup, CONNECT4).programIds;
}

beforeAll(() => {
  sandbox = new Sandbox();
  object = BpfObject.open(objectPath("test"));
  object.load();
  allow = object.program("allow");
  refuse = object.program("refuse");
});
afterEach(() => {
  for (const link of links) link.close();
  links = [];
});
afterAll(() => {
  object.close();
  sandbox[Symbol.dispose]();
});

describe("links", () => {
  it("attach, describe themselves, and detach with their last descriptor", async () => {
    const link = attach(allow);
    expect(attached()).toEqual([allow.info.id]);
    expect(link.info).toMatchObject({
      type: "cgroup",
      programId: allow.info.id,
      attachType: CONNECT4,
      ifindex: null,
    });
    expect(link.info.cgroupId).toBeGreaterThan(0n);
    link.close();
    await expect.poll(attached).toEqual([]);
  });

  it("outlive their handle while pinned, and are the same through pin and id", async () => {
    const link = attach(allow);
    link.pin(sandbox.pin("link"));
    const { id } = link.info;
    link.close();
    expect(attached()).toEqual([allow.info.id]);
    using pinned = BpfLink.open(sandbox.pin("link"));
    using byId = BpfLink.openById(id);
    expect(pinned.info).toEqual(byId.info);
    pinned.detach();
    expect(attached()).toEqual([]);
    expect(byId.info.cgroupId).toBe(0n);
    expect(failureOf(() => pinned.update(refuse)).code).toBe("ENOLINK");
  });

  it("refuse what is no link", () => {
    allow.pin(sandbox.pin("allow"));
    expect(failureOf(() => BpfLink.open(sandbox.pin("allow")))).toMatchObject({
      operation: "open link",
      code: "EINVAL",
    });
    expect(failureOf(() => BpfLink.openById(2 ** 31 - 1)).code).toBe("ENOENT");
  });

  it("name what cannot be attached", () => {
    expect(failureOf(() => allow.attachCgroup("/nonexistent", CONNECT4)).code).toBe("ENOENT");
    expect(failureOf(() => allow.attachCgroup(sandbox.dir, CONNECT4)).code).toBe("EBADF");
    expect(failureOf(() => allow.attachCgroup(sandbox.cgroup, "cgroup_inet6_connect")).code).toBe("EINVAL");
    expect(() => allow.attachCgroup(sandbox.cgroup, "cgroup_inet7_connect")).toThrow(TypeError);
  });

  it("throw from every method once closed", () => {
    const link = attach(allow);
    link.close();
    link.close();
    expectClosed({
      info: () => link.info,
      fd: () => link.fd,
      update: () => link.update(refuse),
      detach: () => link.detach(),
      pin: () => link.pin(sandbox.pin("closed")),
    });
    const open = attach(allow);
    using closed = object.program("refuse");
    closed.close();
    expectClosed({ update: () => open.update(closed) });
    expect(() => open.update(open as unknown as BpfProgram)).toThrow(TypeError);
  });
});

describe("queries", () => {
  it("list every program, also more than the first answer holds", () => {
    for (let i = 0; i < 40; i++) attach(allow);
    expect(attached()).toEqual(Array(40).fill(allow.info.id));
  });

  it("tell inherited programs apart", () => {
    attach(allow);
    const parent = join(sandbox.cgroup, "..");
    expect(queryCgroup(parent, CONNECT4).programIds).not.toContain(allow.info.id);
    expect(queryCgroup(sandbox.cgroup, CONNECT4, { effective: true }).programIds).toContain(allow.info.id);
    expect(queryCgroup(sandbox.cgroup, "cgroup_inet6_connect").programIds).toEqual([]);
  });

  it("name what cannot be asked", () => {
    expect(failureOf(() => queryCgroup("/nonexistent", CONNECT4))).toMatchObject({
      operation: "query cgroup",
      code: "ENOENT",
    });
    expect(() => queryCgroup(sandbox.cgroup, "nope")).toThrow(TypeError);
  });
});

describe("update", () => {
  interface Outcome {
    refused: number;
    connected: number;
  }
  let child: ChildProcess;

  async function ask(message: "start" | "count" | "stop"): Promise<Outcome> {
    child.send(message);
    const [answer] = await once(child, "message");
    return answer as Outcome;
  }

  beforeAll(async () => {
    child = startChild("connect-loop");
    await once(child, "message");
    writeFileSync(join(sandbox.cgroup, "cgroup.procs"), String(child.pid));
  });
  afterAll(async () => {
    const gone = once(child, "exit");
    child.disconnect();
    await gone;
  });

  it("changes the program without a gap", async () => {
    // Two programs that both refuse: a connection that gets through met neither.
    using second = BpfObject.open(objectPath("test"));
    second.load();
    using alsoRefuse = second.program("refuse");
    const link = attach(refuse);
    await ask("start");
    for (let i = 0; i < 300 || (await ask("count")).refused <= 10; i++) {
      link.update(i % 2 === 0 ? alsoRefuse : refuse);
      expect(link.info.programId).toBe((i % 2 === 0 ? alsoRefuse : refuse).info.id);
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const during = await ask("stop");
    expect(during.connected).toBe(0);
    expect(during.refused).toBeGreaterThan(10);

    link.update(allow);
    await ask("start");
    while ((await ask("count")).connected === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const after = await ask("stop");
    expect(after.refused).toBe(0);
    expect(after.connected).toBeGreaterThan(0);
  });
});
