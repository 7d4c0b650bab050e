// SPDX-License-Identifier: Apache-2.0
// The test suites: unit, with the scenarios' pure half, runs anywhere; the others need root and a kernel, and run one file
// at a time, but for faults.
import { defineConfig } from "vitest/config";

/** A test that hangs is ended some day; one that is slow is not at fault. */
const patient = { testTimeout: 300_000, hookTimeout: 300_000, expect: { poll: { timeout: 60_000 } } };
const rooted = { ...patient, fileParallelism: false, pool: "forks" as const };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/scenarios/{compile,program}/*.test.ts"],
          ...patient,
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
          testTimeout: 400_000,
          hookTimeout: 400_000,
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
        test: { name: "differential", include: ["test/differential/*.test.ts"], ...rooted },
      },
    ],
  },
});
