// SPDX-License-Identifier: Apache-2.0
// The benchmarks' one entry: which to run, with which settings.

import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { connectBenchmark } from "./connect-bench.ts";
import { controlBenchmark } from "./control.ts";
import type { Row } from "./goals.ts";
import { killMain } from "./kill.ts";
import { plot } from "./plot.ts";
import { type ConnectResult, save } from "./results.ts";
import { soak } from "./soak.ts";

const HELP = `Usage: node bench/bench.ts COMMAND [options]        (as root, after make)

  quick     connections through portolan and through rules in kube-proxy's shape; under 5 minutes
  full      the same against the real kube-proxy, at 1 to 10,000 Services; about an hour
  control   the agent itself: events to the kernel, cold sync, restart, memory, audit, event loop
  kill      kill -9 of the agent again and again under load: no connection may fail
  soak      the agent under constant change, held against what the API server lists; exit 1 if a bar is missed
  plot      the picture again, from a file of results

Options
  --rounds N      quick, full: rounds an arm (default 600 and 1000)
  --sizes A,B,…   quick, full: numbers of Services
  --seconds N     kill, soak: how long (default 60 and 600)
  --from FILE     plot: results of quick or full
  --check         exit 1 if a figure misses its goal's pass (kill always does)
  --publish       write into bench/results, which the README shows, instead of dist/bench

All namespaces, cgroups, mounts and processes are the benchmark's own and are removed at its end, also after Ctrl-C.
`;

const options = {
  rounds: { type: "string" },
  sizes: { type: "string" },
  seconds: { type: "string" },
  from: { type: "string" },
  check: { type: "boolean", default: false },
  publish: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

type Values = ReturnType<typeof parse>["values"];

function parse() {
  return parseArgs({ options, allowPositionals: true });
}

class UsageError extends Error {}

function whole(text: string, option: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new UsageError(`--${option}: ${text} is not a whole number above 0`);
  return Number(text);
}

/** Rivals' speed depends on the machine, so a missed goal is a finding, not a failure, unless that is asked for. */
const passed = (rows: readonly Row[], values: Values): boolean =>
  !values.check || rows.every(({ verdict }) => verdict !== "FAIL");

async function connections(form: "quick" | "full", values: Values): Promise<boolean> {
  const defaults = form === "quick" ? [1, 1_000, 10_000] : [1, 10, 100, 1_000, 5_000, 10_000];
  const sizes = values.sizes?.split(",").map((text) => whole(text, "sizes")) ?? defaults;
  const nftablesSizes = form === "quick" ? sizes.filter((size) => size <= 1_000) : sizes;
  const rounds = values.rounds ? whole(values.rounds, "rounds") : form === "quick" ? 600 : 1_000;
  return passed(await connectBenchmark({ form, rounds, sizes, nftablesSizes, publish: values.publish }), values);
}

function replot(values: Values): boolean {
  if (!values.from) throw new UsageError("plot: --from FILE is missing");
  const result = JSON.parse(readFileSync(values.from, "utf8")) as ConnectResult;
  console.log(save("connect.svg", plot(result), values.publish));
  return true;
}

/** Both CPUs are wanted whole: an honest figure needs them idle before. */
function warnIfBusy(): void {
  const [load = 0] = loadavg();
  if (load > 0.7) console.error(`warning: the machine is busy (load ${load.toFixed(1)}), figures will be off\n`);
}

async function main(): Promise<boolean> {
  const { values, positionals } = parse();
  const [command, ...rest] = positionals;
  if (values.help) {
    console.log(HELP);
    return true;
  }
  if (rest.length > 0) throw new UsageError(`unexpected argument ${rest[0]}`);
  if (command !== "plot") warnIfBusy();
  if (command === "quick" || command === "full") return connections(command, values);
  if (command === "control") return passed(await controlBenchmark(values.publish), values);
  if (command === "kill")
    return killMain({ seconds: whole(values.seconds ?? "60", "seconds"), everySec: 2, rate: 1_500 });
  if (command === "soak") return soak({ seconds: whole(values.seconds ?? "600", "seconds"), rate: 50 });
  if (command === "plot") return replot(values);
  throw new UsageError(command ? `unknown command ${command}` : "no command");
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  const usage = error instanceof UsageError || String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS");
  console.error(usage ? `bench: ${(error as Error).message}\n\n${HELP}` : error);
  process.exitCode = usage ? 2 : 1;
}
