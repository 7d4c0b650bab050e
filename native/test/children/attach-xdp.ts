// SPDX-License-Identifier: Apache-2.0
// Attaches by XDP inside a network namespace and tells what happened. Argument: object file.
import { BpfError, BpfObject } from "../../index.ts";
import { deviceIndex } from "./device.ts";

const GENERIC_MODE = 2;

const [path = ""] = process.argv.slice(2);
using object = BpfObject.open(path);
object.load();
using second = BpfObject.open(path);
second.load();
using pass = object.program("pass");
using other = second.program("pass");
const ifindex = deviceIndex("lt0");

using link = pass.attachXdp(ifindex, GENERIC_MODE);
const info = link.info;
let failure = "";
try {
  other.attachXdp(ifindex, GENERIC_MODE);
} catch (error) {
  failure = error instanceof BpfError ? error.code : String(error);
}
link.update(other);
console.log(
  JSON.stringify({
    info,
    ifindex,
    programId: pass.info.id,
    otherId: other.info.id,
    afterUpdate: link.info.programId,
    failure,
  }),
);
