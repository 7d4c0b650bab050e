// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from "vitest/config";

// Processes, not threads: each file owns its descriptors, which some tests count.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/compile.ts"],
    setupFiles: ["test/setup.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
