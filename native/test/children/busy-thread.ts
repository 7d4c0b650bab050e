// SPDX-License-Identifier: Apache-2.0
// A thread that ends with everything open: handles, a mapping, watchers on the event loop, a grace period under way.
import { parentPort, workerData } from "node:worker_threads";
import { BpfObject, gracePeriod, NetlinkSocket, netlinkExchange, RingBuffer } from "../../index.ts";

const { path, how } = workerData as { path: string; how: string };
const object = BpfObject.open(path);
object.load();
const view = object.map("points").mmap();
const program = object.program("emit");
const ring = new RingBuffer(object.map("events"), () => {});
const socket = new NetlinkSocket(0, 1);
socket.onMessage(() => {});
program.testRun({ data: new Uint8Array(64) });
view.store64(0, 1n);
void gracePeriod();
void netlinkExchange(0, new Uint8Array(0));
void netlinkExchange(0, new Uint8Array(0), { netns: "/proc/self/ns/net" });
void gracePeriod();
parentPort?.postMessage("open");
if (how === "exit") process.exit(0);
if (how === "return") {
  ring.unref();
  socket.unref();
} else {
  setInterval(() => program.testRun({ data: new Uint8Array(64) }), 1);
}
