// SPDX-License-Identifier: Apache-2.0
// The test suites: unit and scenarios run anywhere; datapath, cli and e2e need root and a kernel, and run one file at a time.
import { defineConfig } from "vitest/config";

const rooted = { fileParallelism: false, testTimeout: 60_000, hookTimeout: 120_000, pool: "forks" as const };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/scenarios/{compile,program}/*.test.ts"],
          testTimeout: 60_000,
        },
      },
      { test: { name: "live", include: ["test/scenarios/live/*.test.ts"], ...rooted } },
      { test: { name: "datapath", include: ["test/datapath/**/*.test.ts"], ...rooted } },
      { test: { name: "cli", include: ["test/cli/**/*.test.ts"], ...rooted } },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          ...rooted,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: "faults",
          include: ["test/faults/*.test.ts"],
          ...rooted,
          // The files wait more than they work.
          fileParallelism: true,
          maxWorkers: 3,
          globalSetup: ["test/faults/table.ts"],
          testTimeout: 200_000,
        },
      },
      {
        test: { name: "differential", include: ["test/differential/*.test.ts"], ...rooted, hookTimeout: 300_000 },
      },
    ],
  },
});
