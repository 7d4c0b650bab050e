// SPDX-License-Identifier: Apache-2.0
// Opens and closes one of each kind, many times, and counts the descriptors before and after.
// Arguments: object file, bpffs, cgroup, rounds.
import { readdirSync } from "node:fs";
import { BpfLink, BpfMap, BpfObject, BpfProgram } from "../../index.ts";

const [path = "", bpffs = "", cgroup = "", rounds = "0"] = process.argv.slice(2);
using object = BpfObject.open(path);
object.load();
using program = object.program("allow");
program.pin(`${bpffs}/program`);
using table = object.map("table");
table.pin(`${bpffs}/map`);
using link = program.attachCgroup(cgroup, "cgroup_inet4_connect");
link.pin(`${bpffs}/link`);

const kinds: Record<string, () => void> = {
  map: () => BpfMap.open(`${bpffs}/map`).close(),
  object: () => {
    using opened = BpfObject.open(path);
    opened.btf().close();
  },
  link: () => BpfLink.open(`${bpffs}/link`).close(),
  program: () => BpfProgram.open(`${bpffs}/program`).close(),
  failure: () => {
    try {
      BpfMap.open(`${bpffs}/link`);
    } catch {
      return;
    }
    throw new Error("a link was opened as a map");
  },
};

const count = () => readdirSync("/proc/self/fd").length;
const done: Record<string, number> = {};
for (const open of Object.values(kinds)) open();
const before = count();
for (const [kind, open] of Object.entries(kinds)) {
  done[kind] = 0;
  for (let i = 0; i < Number(rounds); i++) {
    open();
    done[kind]++;
  }
}
const after = count();
link.detach();
console.log(JSON.stringify({ before, after, kinds: done }));
