// SPDX-License-Identifier: Apache-2.0
// Bundles the program into dist/portolan.mjs; dist/meta.json says which packages went in.
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const result = await build({
  entryPoints: ["src/bin/portolan.ts"],
  outfile: "dist/portolan.mjs",
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  metafile: true,
  legalComments: "none",
  define: { PORTOLAN_VERSION: JSON.stringify(version) },
  banner: {
    js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
  },
  logLevel: "warning",
});
writeFileSync("dist/meta.json", JSON.stringify(result.metafile));
