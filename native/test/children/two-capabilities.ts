// SPDX-License-Identifier: Apache-2.0
// What a process with CAP_BPF and CAP_NET_ADMIN alone can do. Argument: object file.
import { readFileSync } from "node:fs";
import { BpfError, BpfMap, BpfObject, Btf, gracePeriod, probe, RingBuffer } from "../../index.ts";

function codeOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    return error instanceof BpfError ? error.code : String(error);
  }
}

const [path = ""] = process.argv.slice(2);
using object = BpfObject.open(path);
object.load();
using table = object.map("table");
using view = object.map("points").mmap();
view.store64(0, 5n);
let records = 0;
using ring = new RingBuffer(object.map("events"), () => records++);
const packet = { data: new Uint8Array(64) };
object.program("emit").testRun(packet);
ring.consume();
await gracePeriod();
console.log(
  JSON.stringify({
    effective: /CapEff:\s*(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1],
    returnValue: object.program("constants").testRun(packet).returnValue,
    batch: table.updateBatch(new Uint8Array(40).fill(1, 20), new Uint8Array(112), 2),
    mapped: String(view.load64(0)),
    records,
    grace: true,
    helper: probe.helper("cgroup_sock_addr", "get_socket_cookie"),
    mapType: probe.mapType("lru_hash"),
    types: object.btf().mapTypes("table"),
    byId: codeOf(() => BpfMap.openById(table.info.id)),
    ofMap: codeOf(() => Btf.ofMap(table)),
  }),
);
