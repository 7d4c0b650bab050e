// SPDX-License-Identifier: Apache-2.0
// Bundles the program into dist/portolan.mjs; dist/meta.json says which packages went in.
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));

/**
 * node:http through require: an import reads every export there is, WebSocket among them, and with that loads the whole
 * of undici: 10 MB of resident memory and 50 ms of each start for nothing.
 */
const plainHttp = {
  name: "plain-http",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:https?$/ }, ({ path, kind }) =>
      kind === "import-statement" ? { path, namespace: "plain-http" } : undefined,
    );
    onLoad({ filter: /./, namespace: "plain-http" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/** esbuild leaves other characters in templates, and a single one makes V8 keep the whole source with two bytes for each. */
const ascii = (text) =>
  text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

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
  plugins: [plainHttp],
  write: false,
  logLevel: "warning",
});
for (const { path, text } of result.outputFiles) writeFileSync(path, ascii(text));
writeFileSync("dist/meta.json", JSON.stringify(result.metafile));
