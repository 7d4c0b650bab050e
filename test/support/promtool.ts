// SPDX-License-Identifier: Apache-2.0
// `promtool check metrics`, from PATH or unpacked from the distribution's package into a cache folder: nothing is
// installed, no service is started.

import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { command } from "./daemon.ts";

/** A mirror may fail for a moment, and a new machine not know yet what there is. */
const FETCH = `
cd "$0"
fetch() { apt-get -q -o Acquire::Retries=3 download prometheus; }
for pause in 0 5 30; do
	sleep "$pause"
	fetch && exit
	apt-get -q -o Acquire::Retries=3 update
done
fetch
`;

/** The program; fetched once a machine if it is not there. */
async function promtool(): Promise<string> {
  const inPath = (process.env["PATH"] ?? "").split(delimiter).map((dir) => join(dir, "promtool"));
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "portolan", "promtool");
  const cached = join(cache, "usr", "bin", "promtool");
  const found = [...inPath, cached].find(isProgram);
  if (found !== undefined) return found;
  mkdirSync(join(cache, ".."), { recursive: true });
  const dir = mkdtempSync(`${cache}-`);
  try {
    await command(["sh", "-c", FETCH, dir], {}, "", 300_000);
    const deb = readdirSync(dir).find((file) => file.endsWith(".deb")) ?? "";
    await command(["dpkg-deb", "-x", join(dir, deb), dir]);
    if (!existsSync(cache)) renameSync(dir, cache);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return cached;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What it says of a scrape, a complaint a line; empty if there is nothing to say. */
export async function checkMetrics(text: string): Promise<string[]> {
  const program = await promtool();
  return await new Promise((resolve, reject) => {
    const child = execFile(program, ["check", "metrics"], (error, stdout, stderr) => {
      // 3: complaints. Anything else that is not 0: it could not read the text.
      const lines = `${stdout}${stderr}`.split("\n").filter((line) => line !== "");
      if (error === null || error.code === 3) resolve(lines);
      else reject(new Error(lines.join("\n")));
    });
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(text);
  });
}
