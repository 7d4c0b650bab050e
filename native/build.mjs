// SPDX-License-Identifier: Apache-2.0
// Builds the addon and its TypeScript face: `node build.mjs [release] [asan] [types]`.
// Node's headers come from the Node that runs, or from the package that it was installed by: nothing is downloaded.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);

function nodeDir() {
  const candidates = [dirname(dirname(process.execPath))];
  try {
    candidates.unshift(dirname(require.resolve(`node-linux-${process.arch}/package.json`)));
  } catch {
    // Not installed that way: the headers stand beside the running Node.
  }
  const found = candidates.find((dir) => existsSync(join(dir, "include/node/node_api.h")));
  if (!found) throw new Error(`no Node headers (include/node/node_api.h) in ${candidates.join(", ")}`);
  return found;
}

/** One build at a time in a checkout: node-gyp does not bear another beside it. */
function run(script, args) {
  const command = [join(here, ".build.lock"), process.execPath, script, ...args];
  const { status, error } = spawnSync("flock", command, { cwd: here, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function nodeGyp(...options) {
  const jobs = process.env.JOBS ?? "2";
  const args = ["configure", "build", `--nodedir=${nodeDir()}`, `--jobs=${jobs}`, "--loglevel=warn", ...options];
  run(require.resolve("node-gyp/bin/node-gyp.js"), args);
}

/** node-gyp builds in the directory it runs in: this one shows the same sources, so that the two builds do not mix. */
function asanDirectory() {
  const directory = join(here, "build-asan");
  mkdirSync(directory, { recursive: true });
  for (const name of ["binding.gyp", "src"]) {
    const link = join(directory, name);
    if (!existsSync(link)) symlinkSync(join("..", name), link);
  }
  return directory;
}

const steps = {
  release: () => nodeGyp("--release"),
  asan: () => nodeGyp("--debug", `--directory=${asanDirectory()}`),
  types: () => run(join(dirname(require.resolve("typescript/package.json")), "bin/tsc"), ["-p", "tsconfig.json"]),
};

for (const step of process.argv.length > 2 ? process.argv.slice(2) : ["release", "types"]) {
  if (!(step in steps)) throw new Error(`unknown step ${step}; there are ${Object.keys(steps).join(", ")}`);
  steps[step]();
}
