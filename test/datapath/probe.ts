// SPDX-License-Identifier: Apache-2.0
// The test-only program lb-probe.bpf.c, compiled and loaded, and what it found.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BpfError, BpfObject, type BpfProgram, type MmapView } from "libbpf-ts";

export interface Verdicts {
  readonly lookups: number;
  readonly members: number;
  readonly strangers: number;
  readonly missing: number;
  readonly rejected: number;
  readonly dropped: number;
}

/** More than the least packet that TEST_RUN takes; its contents do not matter. */
const PACKET = new Uint8Array(64);

/** Runs a program at least so many times: a signal cuts a TEST_RUN short, which is then begun anew. */
export function runProgram(program: BpfProgram, repeat: number): void {
  for (;;) {
    try {
      program.testRun({ data: PACKET, repeat });
      return;
    } catch (error) {
      if (!(error instanceof BpfError) || error.code !== "EINTR") throw error;
    }
  }
}

export class Probe {
  readonly object: BpfObject;
  readonly program: BpfProgram;
  readonly #verdicts: MmapView;
  readonly #directory = mkdtempSync(join(tmpdir(), "ptdp-probe-"));

  /** `linger`: steps between reading an extent and using it, some nanoseconds each. */
  constructor(serviceCount: number, linger = 0) {
    const file = join(this.#directory, "lb-probe.bpf.o");
    const multiarch = execFileSync("cc", ["-print-multiarch"], { encoding: "utf8" }).trim();
    const flags = ["-g", "-O2", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"];
    const source = join(import.meta.dirname, "lb-probe.bpf.c");
    execFileSync(process.env["CLANG"] ?? "clang-19", [
      ...flags,
      `-I/usr/include/${multiarch}`,
      "-c",
      source,
      "-o",
      file,
    ]);
    this.object = BpfObject.open(file);
    const sizes = { pt_frontends: 1024, pt_services: 128, pt_slots: 16, pt_backends: 4096 };
    for (const [name, size] of Object.entries(sizes)) this.object.setMaxEntries(name, size);
    this.object.setRodata("service_count", serviceCount);
    this.object.setRodata("linger", linger);
    this.object.load();
    this.program = this.object.program("lb_probe");
    this.#verdicts = this.object.map("probe_verdicts").mmap();
  }

  /** At least so many lookups, here and now. */
  run(lookups: number): void {
    runProgram(this.program, lookups);
  }

  /** Since the last call. */
  take(): Verdicts {
    const [lookups = 0, members = 0, strangers = 0, missing = 0, rejected = 0, dropped = 0] = Array.from(
      { length: 6 },
      (_, i) => {
        const count = this.#verdicts.load64(i * 8);
        this.#verdicts.add64(i * 8, -count);
        return Number(count);
      },
    );
    return { lookups, members, strangers, missing, rejected, dropped };
  }

  close(): void {
    this.#verdicts.close();
    this.program.close();
    this.object.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
