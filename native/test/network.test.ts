// SPDX-License-Identifier: Apache-2.0
// Everything that touches devices runs in a child process inside a network namespace of its own.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NetlinkSocket } from "../index.ts";
import { objectPath } from "./compile.ts";
import { expectClosed, failureOf } from "./failure.ts";
import { runChild, Sandbox } from "./sandbox.ts";

let sandbox: Sandbox;
let inside: string[];
beforeAll(() => {
  sandbox = new Sandbox();
  inside = ["ip", "netns", "exec", sandbox.netns];
});
afterAll(() => sandbox[Symbol.dispose]());

describe("attaching to a device", () => {
  interface Attached {
    info: Record<string, unknown>;
    ifindex: number;
    programId: number;
    otherId: number;
    afterUpdate: number;
    record: number[];
    afterDetach: number;
    failure: string;
  }

  interface AttachedFilter {
    attached: string[];
    record: number[];
    afterDetach: string[];
    failure: string;
  }

  it("works by tcx", () => {
    for (const direction of ["ingress", "egress"]) {
      const seen = runChild<Attached>("attach-tcx", { before: inside, args: [objectPath("test"), direction] });
      expect(seen.info).toMatchObject({
        type: "tcx",
        programId: seen.programId,
        attachType: `tcx_${direction}`,
        ifindex: seen.ifindex,
        cgroupId: null,
      });
      expect(seen.afterUpdate).toBe(seen.otherId);
      expect(seen.record.length).toBeGreaterThan(0);
      expect(seen.afterDetach).toBe(0);
      expect(seen.failure).toBe("ENODEV");
    }
  });

  it("works by clsact", () => {
    for (const direction of ["ingress", "egress"]) {
      const seen = runChild<AttachedFilter>("attach-clsact", { before: inside, args: [objectPath("test"), direction] });
      expect(seen.attached).toEqual([expect.stringMatching(/^emit\b/)]);
      expect(seen.record.length).toBeGreaterThan(0);
      expect(seen.afterDetach).toEqual([]);
      expect(seen.failure).toBe("ENOENT");
    }
  });

  it("works by XDP", () => {
    const seen = runChild<Attached>("attach-xdp", { before: inside, args: [objectPath("test")] });
    expect(seen.info).toMatchObject({
      type: "xdp",
      attachType: "xdp",
      programId: seen.programId,
      ifindex: seen.ifindex,
    });
    expect(seen.afterUpdate).toBe(seen.otherId);
    expect(seen.failure).toBe("EBUSY");
  });
});

describe("netlink", () => {
  const GET_LINK = 18;
  const DONE = 3;

  function dumpRequest(): Uint8Array {
    const message = new DataView(new ArrayBuffer(32));
    message.setUint32(0, 32, true);
    message.setUint16(4, GET_LINK, true);
    message.setUint16(6, 0x301, true); // REQUEST | DUMP
    message.setUint32(8, 7, true);
    return new Uint8Array(message.buffer);
  }

  function types(datagram: Uint8Array): number[] {
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
    const found: number[] = [];
    for (let at = 0; at + 16 <= view.byteLength; at += (view.getUint32(at, true) + 3) & ~3) {
      expect(view.getUint32(at + 8, true)).toBe(7);
      found.push(view.getUint16(at + 4, true));
    }
    return found;
  }

  it("asks and receives whole datagrams", () => {
    using socket = new NetlinkSocket(0);
    expect(socket.portId).toBeGreaterThan(0);
    expect(socket.receive(0)).toBeNull();
    const before = performance.now();
    expect(socket.receive(30)).toBeNull();
    expect(performance.now() - before).toBeGreaterThan(25);
    socket.send(dumpRequest());
    const seen: number[] = [];
    while (!seen.includes(DONE)) {
      const datagram = socket.receive();
      if (datagram === null) throw new Error("no answer");
      seen.push(...types(datagram));
    }
    expect(seen.filter((type) => type === 16).length).toBeGreaterThan(0);
  });

  it("calls the handler on the event loop, which may close the socket", async () => {
    const socket = new NetlinkSocket(0);
    const first = await new Promise<Uint8Array>((resolve) => {
      socket.onMessage((data) => {
        socket.close();
        resolve(data);
      });
      socket.send(dumpRequest());
    });
    expect(types(first)[0]).toBe(16);
    socket.close();
    expectClosed({
      portId: () => socket.portId,
      send: () => socket.send(dumpRequest()),
      receive: () => socket.receive(0),
      onMessage: () => socket.onMessage(() => {}),
      ref: () => socket.ref(),
      unref: () => socket.unref(),
    });
  });

  it("hears the kernel's notifications, and of lost ones", () => {
    const seen = runChild<{ links: number; lost: string; receiveLost: string }>("netlink-events", { before: inside });
    expect(seen.links).toBeGreaterThan(0);
    expect(seen.lost).toBe("ENOBUFS");
    expect(seen.receiveLost).toBe("ENOBUFS");
  });

  it("ignores what other processes send", () => {
    expect(runChild<{ heard: number }>("netlink-forgery", { before: inside })).toEqual({ heard: 0 });
  });

  it("names what fails", () => {
    expect(failureOf(() => new NetlinkSocket(255))).toMatchObject({
      operation: "netlink socket",
      code: "EPROTONOSUPPORT",
    });
    expect(() => new NetlinkSocket(-1)).toThrow(RangeError);
    using socket = new NetlinkSocket(0);
    expect(() => socket.send("x" as unknown as Uint8Array)).toThrow(TypeError);
  });
});
