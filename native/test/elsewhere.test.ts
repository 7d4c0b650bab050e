// SPDX-License-Identifier: Apache-2.0
// What runs on a worker thread, in this network namespace or another; the process itself stays where it is.
import { spawn } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BpfError, BpfMap, BpfObject, collectIterator, netlinkExchange, sys } from "../index.ts";
import { objectPath } from "./compile.ts";
import { openFiles, Sandbox, u32 } from "./sandbox.ts";

const [NOOP, ERROR, DONE, NEW_LINK, GET_LINK] = [1, 2, 3, 16, 18];
const [REQUEST, ACK, DUMP] = [1, 4, 0x300];

let sandbox: Sandbox;
let netns: string;
beforeAll(() => {
  sandbox = new Sandbox();
  netns = `/run/netns/${sandbox.netns}`;
});
afterAll(() => sandbox[Symbol.dispose]());

function request(type: number, flags: number): Uint8Array {
  const message = new DataView(new ArrayBuffer(32));
  message.setUint32(0, 32, true);
  message.setUint16(4, type, true);
  message.setUint16(6, flags, true);
  return new Uint8Array(message.buffer);
}

/** Types of the messages, in order. */
function types(answers: Uint8Array): number[] {
  const view = new DataView(answers.buffer, answers.byteOffset, answers.length);
  const found: number[] = [];
  for (let at = 0; at < view.byteLength; at += (view.getUint32(at, true) + 3) & ~3) {
    found.push(view.getUint16(at + 4, true));
  }
  return found;
}

async function rejection(promise: Promise<unknown>): Promise<BpfError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BpfError);
  return error as BpfError;
}

describe("a netlink exchange", () => {
  const dump = request(GET_LINK, REQUEST | DUMP);

  it("asks in another namespace, and leaves this thread in its own", async () => {
    const before = sys.netnsCookie();
    const there = await netlinkExchange(0, dump, { netns });
    expect(Buffer.from(there).includes("lt0\0")).toBe(true);
    const here = await netlinkExchange(0, dump);
    expect(Buffer.from(here).includes("lt0\0")).toBe(false);
    expect(sys.netnsCookie()).toBe(before);
  });

  it("collects the answers of several requests, dumps and acknowledgements, in their order", async () => {
    const requests = Buffer.concat([dump, request(0xfff, REQUEST | ACK), dump]);
    const seen = types(await netlinkExchange(0, requests));
    const last = seen.filter((type) => type === DONE || type === ERROR);
    expect(last).toEqual([DONE, ERROR, DONE]);
    expect(seen.filter((type) => type === NEW_LINK).length).toBeGreaterThan(1);
  });

  it("names what fails", async () => {
    expect(await rejection(netlinkExchange(255, dump))).toMatchObject({
      operation: "netlink exchange",
      code: "EPROTONOSUPPORT",
    });
    expect((await rejection(netlinkExchange(0, dump, { netns: "/nonexistent" }))).code).toBe("ENOENT");
    expect((await rejection(netlinkExchange(0, dump, { netns: "/etc/passwd" }))).code).toBe("EINVAL");
    expect((await rejection(netlinkExchange(0, new Uint8Array(20)))).code).toBe("EINVAL");
    await expect(netlinkExchange(0, "x" as unknown as Uint8Array)).rejects.toThrow(TypeError);
  });

  it("gives up on a kernel that does not answer, and does not hold up the event loop meanwhile", async () => {
    let turns = 0;
    const clock = setInterval(() => turns++, 1);
    expect((await rejection(netlinkExchange(0, request(NOOP, REQUEST)))).code).toBe("ETIMEDOUT");
    clearInterval(clock);
    expect(turns).toBeGreaterThan(5);
  });

  it("hears nobody but the kernel: whoever else sends to its port is refused", async () => {
    const sender = `import socket, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
end, heard = time.monotonic() + 4, 0
print("sending", flush=True)
while time.monotonic() < end:
    try: heard += s.sendto(b"x" * 16, (${process.pid}, 0)) > 0
    except OSError: pass
    time.sleep(0.02)
print(heard)`;
    const child = spawn("python3", ["-c", sender], { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("sending");
    expect((await rejection(netlinkExchange(0, request(NOOP, REQUEST)))).code).toBe("ETIMEDOUT");
    expect((await lines.next()).value).toBe("0");
    await once(child, "close");
  });

  it("leaves no descriptor and no namespace behind", async () => {
    await netlinkExchange(0, dump, { netns });
    const before = openFiles();
    for (let i = 0; i < 300; i++) await netlinkExchange(0, dump, { netns });
    expect(openFiles()).toBe(before);
  });
});

describe("a collected iterator", () => {
  it("reads on though its handles are closed", async () => {
    using object = BpfObject.open(objectPath("iterator"));
    object.load();
    const program = object.program("keys");
    const map = BpfMap.create({ type: "hash", name: "iterated", keySize: 4, valueSize: 4, maxEntries: 1_000 });
    for (let i = 0; i < 1_000; i++) map.set(u32(i), u32(i));
    const before = openFiles();
    const reading = collectIterator(program, { map });
    program.close();
    map.close();
    const bytes = await reading;
    expect(new Set(new Uint32Array(bytes.buffer)).size).toBe(1_000);
    expect(openFiles()).toBe(before - 2);
    expect((await rejection(collectIterator(program, { map }))).code).toBe("EBADF");
  });

  it("stops where it would be more than a process bears", async () => {
    using object = BpfObject.open(objectPath("iterator"));
    object.load();
    using program = object.program("pages");
    const pages = (count: number) =>
      BpfMap.create({ type: "array", name: "pages", keySize: 4, valueSize: 4_096, maxEntries: count });
    using some = pages(1_000);
    expect((await collectIterator(program, { map: some })).length).toBe(1_000 * 4_096);
    using many = pages(9_000);
    expect((await rejection(collectIterator(program, { map: many }))).code).toBe("EFBIG");
  });

  it("visits the sockets of one namespace", async () => {
    using object = BpfObject.open(objectPath("iterator"));
    object.load();
    using program = object.program("udp_sockets");
    const sockets: Socket[] = [];
    for (let i = 0; i < 3; i++) {
      const socket = createSocket("udp4");
      sockets.push(socket);
      socket.bind(0, "127.0.0.1");
      await once(socket, "listening");
    }
    // Others may come and go in this namespace.
    const seen = new Set(new Uint16Array((await collectIterator(program)).slice().buffer));
    expect(sockets.filter((socket) => seen.has(socket.address().port))).toEqual(sockets);
    expect((await collectIterator(program, { netns })).length).toBe(0);
    expect((await rejection(collectIterator(program, { netns: "/nonexistent" }))).code).toBe("ENOENT");
    for (const socket of sockets) socket.close();
  });
});
