// SPDX-License-Identifier: Apache-2.0
// Runs the addon's tests on the sanitizer build. A leak, a bad access or undefined behaviour in any of their
// processes makes the run fail. Arguments go to vitest.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const native = dirname(here);
const require = createRequire(import.meta.url);

const vitest = join(dirname(require.resolve("vitest/package.json")), "vitest.mjs");
const libasan = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();

// Processes leave their findings here: nobody looks at the exit code of those that vitest itself starts.
const reports = join(here, ".output/sanitizer");
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const log = `:log_path=${join(reports, "report")}`;
const { status, error } = spawnSync(process.execPath, [vitest, "run", ...process.argv.slice(2)], {
  cwd: native,
  stdio: "inherit",
  env: {
    ...process.env,
    LIBBPF_TS_ADDON: join(native, "build-asan/build/Debug/libbpf_ts.node"),
    // The tests' own processes are started with it (test/compile.ts, test/sandbox.ts), vitest itself is not.
    LIBBPF_TS_PRELOAD: libasan,
    ASAN_OPTIONS: `detect_leaks=1:quarantine_size_mb=16:exitcode=99:intercept_tls_get_addr=0${log}`,
    LSAN_OPTIONS: `suppressions=${join(here, "lsan.supp")}:print_suppressions=0`,
    UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1${log}`,
  },
});
if (error) throw error;
const found = readdirSync(reports);
for (const name of found) console.error(readFileSync(join(reports, name), "utf8"));
console.error(`sanitizers: ${found.length} reports`);
process.exit(found.length > 0 ? 1 : (status ?? 1));
