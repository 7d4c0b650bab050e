// SPDX-License-Identifier: Apache-2.0
// Ends by itself, although watchers exist: one is closed, the others are unreferenced.
import { BpfObject, NetlinkSocket, RingBuffer } from "../../index.ts";

const [path = ""] = process.argv.slice(2);
const object = BpfObject.open(path);
object.load();
new RingBuffer(object.map("events"), () => {}).close();
new RingBuffer(object.map("events"), () => {}).unref();
const before = new NetlinkSocket(0, 1);
before.unref();
before.onMessage(() => {});
const after = new NetlinkSocket(0, 1);
after.onMessage(() => {});
after.unref();
console.log(JSON.stringify("end"));
