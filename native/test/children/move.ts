// SPDX-License-Identifier: Apache-2.0
// Moves into a network namespace. Argument: its path.
import { readFileSync } from "node:fs";
import { sys } from "../../index.ts";

const [path = ""] = process.argv.slice(2);
const before = String(sys.netnsCookie());
sys.setns(path, "net");
const devices = [...readFileSync("/proc/thread-self/net/dev", "utf8").matchAll(/^\s*(\S+):/gm)].map(([, name]) => name);
console.log(JSON.stringify({ before, after: String(sys.netnsCookie()), devices }));
