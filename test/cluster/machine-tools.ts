// SPDX-License-Identifier: Apache-2.0
// Programs of this machine in a container image: a shell and what scripts call in it, with the libraries they need.

import { chmodSync, copyFileSync, existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { command } from "../support/daemon.ts";

const folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/** The path of a program here; throws if it is not installed. */
function find(program: string): string {
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`not installed: ${program}`);
  return found;
}

/**
 * Puts programs into the image root `root`, a folder, as /usr/bin/NAME; `tools` is NAME to the program's name here. Adds
 * what a root without a distribution lacks: /tmp, the users, and where names are looked up.
 */
export async function addTools(root: string, tools: Readonly<Record<string, string>>): Promise<void> {
  for (const folder of ["bin", "sbin", "lib", "lib64"]) {
    mkdirSync(join(root, "usr", folder), { recursive: true });
    if (!existsSync(join(root, folder))) symlinkSync(`usr/${folder}`, join(root, folder));
  }
  for (const folder of ["tmp", "etc", "root", "var/run"]) mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, "tmp"), 0o1777);
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
  writeFileSync(join(root, "etc/nsswitch.conf"), "hosts: files dns\n");
  // As the wget of small images: who wants to try again says so.
  writeFileSync(join(root, "etc/wgetrc"), "tries = 1\n");
  for (const [name, program] of Object.entries(tools)) {
    const here = realpathSync(find(program));
    copyFileSync(here, join(root, "usr/bin", name));
    for (const library of await librariesOf(here)) addLibrary(root, library);
  }
}

/** Paths of what the dynamic linker loads, itself included; none for a static program, which ldd calls a failure. */
async function librariesOf(program: string): Promise<string[]> {
  const listed = await command(["sh", "-c", 'ldd "$0" || true', program]);
  return [...listed.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => (path === undefined ? [] : [path]));
}

function addLibrary(root: string, library: string): void {
  const place = join(root, library.startsWith("/usr/") ? library : join("/usr", library));
  if (existsSync(place)) return;
  mkdirSync(dirname(place), { recursive: true });
  copyFileSync(realpathSync(library), join(dirname(place), basename(library)));
}
