// SPDX-License-Identifier: Apache-2.0
// Moves into a network namespace. Argument: its path.
import { networkInterfaces } from "node:os";
import { sys } from "../../index.ts";

const [path = ""] = process.argv.slice(2);
const before = String(sys.netnsCookie());
sys.setns(path, "net");
console.log(JSON.stringify({ before, after: String(sys.netnsCookie()), devices: Object.keys(networkInterfaces()) }));
