// SPDX-License-Identifier: Apache-2.0
// Runs in every process that vitest starts. Under a sanitizer, leaks are looked for when a file's tests are done:
// vitest kills its processes too soon for the check at their end.
import { createRequire } from "node:module";
import { afterAll } from "vitest";
import "./preload.ts";

const addonPath = process.env["LIBBPF_TS_ADDON"];
if (process.env["LIBBPF_TS_PRELOAD"] !== undefined && addonPath !== undefined) {
  const sanitized = createRequire(import.meta.url)(addonPath) as { findLeaks(): boolean };
  afterAll(() => {
    if (sanitized.findLeaks()) throw new Error("memory leaks: see the sanitizer's report");
  });
}
