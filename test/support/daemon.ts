// SPDX-License-Identifier: Apache-2.0
// Runs real programs for tests, in a network namespace, a cgroup and with the capabilities a test names, and ends exactly
// those: by the pid that was started, waiting until it is gone. Also when the test process itself is killed.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** Where a program runs; what is left out is inherited from the test process. */
export interface Place {
  /** Name of a network namespace under /run/netns. */
  readonly netns?: string;
  /** Directory of a cgroup that the program joins before it starts. */
  readonly cgroup?: string;
  /** The only capabilities left to it, as setpriv(1) names them: `["bpf", "net_admin"]`. */
  readonly capabilities?: readonly string[];
}

/** How a program ended: one of the two is null. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * The argument list that runs `argv` at a place, as the same process (every step is an exec, so the pid is the program's).
 * nsenter and not `ip netns exec`: that one mounts a new /sys, and with it the cgroup and bpffs mounts are out of sight.
 */
export function placed(argv: readonly string[], place: Place = {}): [string, ...string[]] {
  const cgroup = place.cgroup ? ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', place.cgroup] : [];
  const netns = place.netns ? ["nsenter", `--net=/run/netns/${place.netns}`, "--"] : [];
  const bounds = place.capabilities
    ? [`--bounding-set=-all${place.capabilities.map((name) => `,+${name}`).join("")}`]
    : [];
  const [program = "true", ...rest] = [...cgroup, ...netns, "setpriv", "--pdeathsig=KILL", ...bounds, "--", ...argv];
  return [program, ...rest];
}

/** A failed command: its exit status and what it wrote to standard error. */
export class CommandError extends Error {
  readonly code: number | string | null;
  readonly stderr: string;

  constructor(argv: readonly string[], code: number | string | null, stderr: string) {
    super(`${argv.join(" ")}: exit ${code ?? "by a signal"}: ${stderr.trim()}`);
    this.name = "CommandError";
    this.code = code;
    this.stderr = stderr;
  }
}

/** Runs a program to its end and gives its standard output; a non-zero exit is a CommandError, too long is a SIGKILL. */
export function command(argv: readonly string[], place: Place = {}, input = "", timeoutMs = 60_000): Promise<string> {
  const [file, ...args] = placed(argv, place);
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: 256 << 20 } as const;
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      if (error) reject(new CommandError(argv, error.code ?? null, stderr));
      else resolve(stdout);
    });
    // A program that ends before it has read everything says why in its exit status, not in EPIPE.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

/** How long something may take on a machine that is far slower and busier than it should be. */
const PATIENCE_MS = 45_000;
/** When it was the test that stood still, nobody has looked: so often is looked in any case. */
const FEWEST_LOOKS = 20;

/** Asks again every `everyMs` until `probe` gives something; throws with the last error after `withinMs`. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  { withinMs = PATIENCE_MS, everyMs = 50 } = {},
): Promise<T> {
  const deadline = performance.now() + withinMs;
  const fewest = Math.min(FEWEST_LOOKS, withinMs / everyMs / 2);
  let last: unknown;
  for (let looks = 0; looks < fewest || performance.now() < deadline; looks++) {
    try {
      const answer = await probe();
      if (answer !== undefined) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await sleep(everyMs);
  }
  throw new Error(`not within ${withinMs} ms: ${what}`, last === undefined ? {} : { cause: last });
}

/** A program that stays: its pid, everything it has written, its end. */
export class Daemon {
  readonly name: string;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  #exit: Exit | undefined;

  /** Starts it; standard output and standard error are appended to `logFile`. */
  constructor(argv: readonly string[], logFile: string, place: Place = {}) {
    const [file, ...args] = placed(argv, place);
    const log = openSync(logFile, "a");
    this.name = argv[0]?.split("/").pop() ?? "";
    this.#logFile = logFile;
    this.#child = spawn(file, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.exited = new Promise((resolve, reject) => {
      this.#child.once("error", reject);
      this.#child.once("exit", (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** How it ended, undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Everything written so far, by earlier programs on the same file too. */
  log(): string {
    return readFileSync(this.#logFile, "utf8");
  }

  /** Waits for `ready`; an end of the program before that throws at once, with the tail of its log. */
  async until<T>(
    what: string,
    ready: () => T | undefined | Promise<T | undefined>,
    withinMs = PATIENCE_MS,
  ): Promise<T> {
    const ended = { ended: true } as const;
    const answer = await eventually(`${this.name}: ${what}`, async () => (this.#exit ? ended : await ready()), {
      withinMs,
    }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${this.tail()}`, { cause: error });
    });
    if (answer === ended) throw new Error(`${this.name} ended before "${what}"\n${this.tail()}`);
    return answer as T;
  }

  /** Sends a signal and waits for the end; after `graceMs` SIGKILL. Already ended is fine. */
  async stop(signal: NodeJS.Signals = "SIGTERM", graceMs = PATIENCE_MS): Promise<Exit> {
    if (this.#exit) return this.#exit;
    this.#child.kill(signal);
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    const exit = await this.exited;
    clearTimeout(killer);
    return exit;
  }

  /** The end of the log. */
  tail(): string {
    return this.log().split("\n").slice(-25).join("\n");
  }
}
