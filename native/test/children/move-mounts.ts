// SPDX-License-Identifier: Apache-2.0
// Enters the mount namespace of a child of its own, which has a file system that nobody else sees.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sys } from "../../index.ts";

const RAMFS_MAGIC = 0x858458f6;

const dir = mkdtempSync(join(tmpdir(), "libbpf-ts-mnt-"));
const script = `mount -t ramfs ramfs ${dir} && echo ready && read line`;
const child = spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
await once(child.stdout, "data");
const home = openSync("/proc/self/ns/mnt", "r");
const outside = sys.statfsType(dir);
sys.setns(`/proc/${child.pid}/ns/mnt`, "mnt");
const inside = sys.statfsType(dir);
child.stdin.end("\n");
await once(child, "exit");
console.log(JSON.stringify({ entered: outside !== RAMFS_MAGIC && inside === RAMFS_MAGIC }));
sys.setns(`/proc/self/fd/${home}`, "mnt");
rmdirSync(dir);
