// SPDX-License-Identifier: Apache-2.0
// Attaches by clsact inside a network namespace and tells what happened. Arguments: object file, direction.
import { attachClsact, BpfError, BpfObject, type Direction, detachClsact } from "../../index.ts";
import { attachedPrograms, deviceIndex, recordsOfTraffic } from "./device.ts";

const [path = "", direction = "ingress"] = process.argv.slice(2);
using object = BpfObject.open(path);
object.load();
using emit = object.program("emit");
using other = object.program("constants");
const ifindex = deviceIndex("lt0");
const place = { handle: 1, priority: 7 };

attachClsact(other, ifindex, direction as Direction, place);
attachClsact(emit, ifindex, direction as Direction, place); // replaces
const attached = attachedPrograms("lt0");
const record = recordsOfTraffic(object);
detachClsact(ifindex, direction as Direction, place);
let failure = "";
try {
  detachClsact(ifindex, direction as Direction, place);
} catch (error) {
  failure = error instanceof BpfError ? error.code : String(error);
}
console.log(JSON.stringify({ attached, record, afterDetach: attachedPrograms("lt0"), failure }));
