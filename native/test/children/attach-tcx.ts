// SPDX-License-Identifier: Apache-2.0
// Attaches by tcx inside a network namespace and tells what happened. Arguments: object file, direction.
import { BpfError, BpfObject, type Direction } from "../../index.ts";
import { deviceIndex, recordsOfTraffic } from "./device.ts";

const [path = "", direction = "ingress"] = process.argv.slice(2);
using object = BpfObject.open(path);
object.load();
using emit = object.program("emit");
using other = object.program("constants");
const ifindex = deviceIndex("lt0");

using link = emit.attachTcx(ifindex, direction as Direction);
const info = link.info;
const record = recordsOfTraffic(object);
link.update(other);
const afterUpdate = link.info.programId;
link.detach();
let failure = "";
try {
  emit.attachTcx(9999, direction as Direction);
} catch (error) {
  failure = error instanceof BpfError ? error.code : String(error);
}
console.log(
  JSON.stringify({
    info,
    ifindex,
    programId: emit.info.id,
    otherId: other.info.id,
    afterUpdate,
    record,
    afterDetach: link.info.ifindex,
    failure,
  }),
);
